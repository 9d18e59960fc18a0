"""Clusters are YAML files: those that ship can be used as they are, and an address is trusted through TLS alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client, LocalCluster
from pydantic import ValidationError

import flows.clusters.address
from dsdit.errors import RequestError
from flows.clusters.cuda import Cuda
from flows.clusters.kubernetes import Kubernetes
from flows.clusters.local import Local
from flows.clusters.slurm import Slurm
from flows.request.cluster_file import cluster_names, kinds, load_cluster
from flows.request.settings import Compute, Tls
from tests.support.clustered import open_client
from tests.support.commands import BIN, ROOT, environment, free_port, started, wait_for
from tests.support.pem import make_certificates

TLS = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


def test_every_cluster_that_ships_can_be_read() -> None:
    assert cluster_names() == kinds() == ["address", "cuda", "kubernetes", "local", "serial", "slurm"]
    for name in cluster_names():
        file = load_cluster(name)
        assert file.kind == name and type(file).__name__ == name.capitalize()
    cuda, local, kubernetes = load_cluster("cuda"), load_cluster("local"), load_cluster("kubernetes")
    assert isinstance(cuda, Cuda) and isinstance(local, Local) and isinstance(kubernetes, Kubernetes)
    assert kubernetes.manifest["kind"] == "DaskCluster"
    assert cuda.options["threads_per_worker"] == cuda.options["resources"]["GPU"] == 2
    assert cuda.needs == {"stage": {"CPU": 1}, "sample": {"GPU": 1}, "mosaic": {"CPU": 1}}
    assert (cuda.workers_per_gpu, cuda.cpu_workers) == (4, "auto")
    assert cuda.options["rmm_pool_size"] is None
    for file in (local, cuda):
        assert file.options["host"] == "127.0.0.1"


def test_a_file_of_ones_own_makes_the_cluster(tmp_path: Path) -> None:
    path = tmp_path / "threads.yaml"
    path.write_text("kind: local\noptions: {processes: false, threads_per_worker: 1, dashboard_address: null}\n")
    with open_client(Compute(cluster=str(path), workers=3)) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 3
        assert client.submit(pow, 2, 5).result() == 32


def visible() -> str | None:
    """GPUs that this process may see."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_beside_a_worker_a_gpu_are_others_that_share_it_and_some_without() -> None:
    """On a cluster of plain workers in place of LocalCUDACluster's, whose entries are of the same form."""
    file = Cuda(workers_per_gpu=3, cpu_workers=2)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, resources={"GPU": 2}) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        next(iter(cluster.worker_spec.values()))["options"]["env"] = {"CUDA_VISIBLE_DEVICES": "7"}
        file.add_workers(cluster)
        client.wait_for_workers(5, timeout=120)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        offers = {address: worker["resources"] for address, worker in workers.items()}
        assert sorted(map(str, offers.values())) == ["{'CPU': 1}"] * 2 + ["{'GPU': 2}"] * 3
        seen = client.run(visible)
        assert [seen[address] for address, offer in offers.items() if "CPU" in offer] == ["", ""]
        assert sorted(seen[address] or "" for address, offer in offers.items() if "GPU" in offer) == ["", "7", "7"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("neither one of", "kubernetes", "slurm")),
        ("- a list", ("holds no mapping",)),
        ("kind: moon", ("kind", "kubernetes")),
        ("kind: local\nworkres: 2", ("workres",)),
        ("kind: kubernetes", ("kind: kubernetes needs manifest",)),
        ("kind: local\nmanifest: x.yaml", ("manifest goes with kind: kubernetes",)),
        ("kind: local\ncpu_workers: auto", ("cpu_workers goes with kind: cuda",)),
        ("kind: address\nworkers_per_gpu: 2", ("workers_per_gpu goes with kind: cuda",)),
        ("kind: local\nneeds: {print: {GPU: 1}}", ("needs.print",)),
        ("kind: address", ("no address", "compute.address")),
        ("kind: local\noptions: {n_workers: 3}", ("could not be started", "n_workers", "options")),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    content: str | None, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RequestError) as caught, open_client(Compute(cluster=str(path))):
        pass
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in (str(path), *parts))


def test_the_manifest_is_one_the_operator_takes_with_the_requested_workers() -> None:
    file = load_cluster("kubernetes")
    assert isinstance(file, Kubernetes)
    made, manifest = file.manifest_with_workers(Compute(cluster="kubernetes", workers=7)), file.manifest
    assert (made["apiVersion"], made["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert made["spec"]["worker"]["replicas"] == 7 and manifest["spec"]["worker"]["replicas"] == 1
    (worker,) = made["spec"]["worker"]["spec"]["containers"]
    (scheduler,) = made["spec"]["scheduler"]["spec"]["containers"]
    assert worker["args"][:2] == ["dask", "worker"] and scheduler["args"][:2] == ["dask", "scheduler"]
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "1"
    gpus = worker["resources"]["limits"]["nvidia.com/gpu"], worker["resources"]["requests"]["nvidia.com/gpu"]
    assert gpus == ("1", "1")
    service = made["spec"]["scheduler"]["service"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    assert (
        {port["targetPort"]: port["port"] for port in service["ports"]}
        == ports
        == {
            "tcp-comm": 8786,
            "http-dashboard": 8787,
        }
    )
    assert service["selector"]["dask.org/cluster-name"] == made["metadata"]["name"]
    policy = yaml.safe_load((ROOT / "infra" / "kubernetes" / "network-policy.yaml").read_text())
    assert policy["spec"]["podSelector"]["matchLabels"] == {"dask.org/cluster-name": made["metadata"]["name"]}
    assert policy["metadata"]["namespace"] == file.options["namespace"]
    if find_spec("dask_kubernetes"):
        from dask_kubernetes.operator import make_cluster_spec

        theirs = make_cluster_spec("dsdit", n_workers=7)
        assert set(made["spec"]) == set(theirs["spec"])
        assert set(made["spec"]["scheduler"]) == set(theirs["spec"]["scheduler"])
    with pytest.raises(RequestError, match="no DaskCluster with a worker"):
        Kubernetes(manifest={"kind": "Pod"}).manifest_with_workers(Compute(cluster="kubernetes"))


def test_kubernetes_that_is_not_there_is_one_sentence() -> None:
    parts = "needs dask-kubernetes: .*kubernetes.*cluster: local"
    if find_spec("dask_kubernetes"):
        parts = "could not be started .*kubectl.*operator"
    with pytest.raises(RequestError, match=parts) as caught, open_client(Compute(cluster="kubernetes")):
        pass
    assert "\n" not in str(caught.value)


def test_the_job_script_asks_for_one_gpu_and_starts_one_worker(tmp_path: Path) -> None:
    tls = Tls(**make_certificates(tmp_path))
    compute, file = Compute(cluster="slurm", tls=tls), load_cluster("slurm")
    assert isinstance(file, Slurm)
    if not find_spec("dask_jobqueue"):
        with pytest.raises(RequestError, match=r"needs dask-jobqueue: .*slurm.*cluster: local"):
            file.start(compute)
        return
    here = {**file.options, "scheduler_options": {"host": "127.0.0.1", "dashboard": False}}
    with Slurm(options=here).start(compute) as cluster:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:") and not cluster.workers
    with Slurm(options={**here, "shared_temp_directory": str(tmp_path)}).start(Compute(cluster="slurm")) as cluster:
        own = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://")
    assert re.search(rf"--tls-key {re.escape(str(tmp_path))}/\S+", own) and "PRIVATE KEY" not in own
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:1", "#SBATCH -t 08:00:00"):
        assert line in script.splitlines(), line
    assert "export OMP_NUM_THREADS=1" in script
    for parts in (
        r"--nthreads 1\b",
        r"--lifetime 7h50m",
        rf"--tls-ca-file {re.escape(tls.ca)}",
        r"tls://127\.0\.0\.1:",
    ):
        assert re.search(parts, script), parts


@pytest.mark.parametrize("cluster", ["local", "cuda", "kubernetes"])
def test_certificates_that_a_cluster_would_not_use_are_refused(cluster: str) -> None:
    compute = Compute(cluster=cluster, tls=Tls(ca="ca.pem", cert="cert.pem", key="key.pem"))
    with (
        pytest.raises(RequestError, match=rf"compute\.tls: .*'{cluster}'.* cluster: address"),
        open_client(compute),
    ):
        pass


def test_slurm_that_is_not_there_is_one_sentence() -> None:
    parts = "needs Slurm's command sbatch" if find_spec("dask_jobqueue") else r"needs dask-jobqueue: .*cluster: local"
    with pytest.raises(RequestError, match=parts), open_client(Compute(cluster="slurm")):
        pass


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A scheduler and a worker that speak TLS alone, by Dask's own commands; their address, and the PEM files."""
    folder = tmp_path_factory.mktemp("tls")
    files, env, port = make_certificates(folder), environment(folder), free_port()
    url, dask = f"tls://127.0.0.1:{port}", str(BIN / "dask")
    tls = ["--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"], "--protocol", "tls"]
    tls += ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(started([dask, "scheduler", "--port", str(port), *tls], env, folder / "scheduler.log"))
        worker = [dask, "worker", url, "--nthreads", "1", "--local-directory", str(folder / "work"), *tls]
        stack.enter_context(started(worker, env, folder / "worker.log"))
        wait_for(lambda: "Registered to" in (folder / "worker.log").read_text(), 120, "the worker is there")
        yield url, files


def test_an_address_with_tls_is_used_through_its_certificates(trusted: tuple[str, dict[str, str]]) -> None:
    url, files = trusted
    with open_client(Compute(cluster="address", address=url, tls=Tls(**files))) as client:
        assert client.submit(pow, 3, 4).result(timeout=60) == 81
        assert client.security.require_encryption
        assert all(address.startswith("tls://") for address in client.scheduler_info(n_workers=-1)["workers"])


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_nobody_enters_without_the_certificates(
    scheme: str, trusted: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.clusters.address, "CONNECT_S", 2.0)
    url = trusted[0].replace("tls", scheme, 1)
    for tls in (None, Tls(**make_certificates(tmp_path / "others"))):
        compute = Compute(cluster="address", address=url, tls=tls)
        with pytest.raises(RequestError, match="no Dask scheduler answers at") as caught, open_client(compute):
            pass
        assert "\n" not in str(caught.value)


def test_a_certificate_that_is_not_there_is_one_sentence() -> None:
    compute = Compute(cluster="address", address="tls://127.0.0.1:1", tls=Tls(**TLS))
    with pytest.raises(RequestError, match=r"compute\.tls: 'ca\.pem' cannot be read"), open_client(compute):
        pass


def test_an_address_goes_with_its_cluster_alone() -> None:
    for wrong in ({"cluster": "local", "address": "tcp://h:1"}, {"cluster": "address"}):
        with pytest.raises(ValidationError, match="cluster: address"):
            Compute.model_validate(wrong)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_image_is_made_from_files_that_are_there(device: str) -> None:
    lines = (ROOT / "infra" / "docker" / f"Dockerfile.{device}").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept and all((ROOT / name).exists() for name in copied)
    record: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "clusters" / "kubernetes.yaml").read_text())
    assert record["manifest"] == "../kubernetes/dask-cluster.yaml"
    assert "USER 1000" in lines and not [line for line in lines if re.search(r"SECRET|TOKEN|PASSWORD", line)]
