"""What a plan costs, before anything is spent: counts, bytes, objects, requests, hours, and money if a price is given.

Everything is a sum over masks of jobs, without a list of jobs, so that a continent takes a moment too. Bytes are upper
bounds, before compression.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dsdit.lattice.job_mask import Jobs
from dsdit.plan.licences import strictest
from dsdit.plan.plan import Plan
from dsdit.status import JobState
from dsdit.steps.publish.report import registration_notes
from dsdit.steps.publish.shard_map import draw_shards
from dsdit.store.objects import join, read_json
from flows.plan.traffic import Traffic, count_traffic
from flows.plan.work import Work, count_work, with_scene
from flows.report import read_report
from flows.request.settings import Cost

SECONDS_PER_TILE = 0.08
"""Seconds of one network pass of `dsdit-tiny` on a CPU core, over a tile of 128 px: used where nothing was measured."""
Speed = tuple[float, str]
"""(seconds a network call, where the figure is from)."""


@dataclass(frozen=True)
class DeviceTime:
    """How long one device runs the network."""

    hours: float
    basis: str
    """Speed behind the figure, and where it is from."""


@dataclass(frozen=True)
class Money:
    """In the currency of the prices; None where no price is given."""

    run: float | None
    month: float | None
    """Of storing what the run writes for a month."""


@dataclass(frozen=True)
class PlanCost:
    """What the due jobs of a plan cost."""

    work: Work
    traffic: Traffic
    time: DeviceTime
    money: Money
    items: int
    registration: tuple[str, ...]
    """Notes on pairs whose shift is corrected or too large."""
    licences: tuple[str, ...]
    derivatives: str | None
    """The strictest terms of the sources, and which sources have them."""

    def rows(self) -> dict[str, Any]:
        """Figures by name in the order in which they are shown; those that do not apply are left out."""
        optional = {
            "price_of_the_run": self.money.run,
            "price_of_keeping_a_month": self.money.month,
            "registration": list(self.registration) or None,
            "licences": list(self.licences),
            "derivatives": self.derivatives,
        }
        return {
            **self.work.rows(),
            **asdict(self.traffic),
            "device_hours": self.time.hours,
            "speed": self.time.basis,
            "items": self.items,
            **{name: value for name, value in optional.items() if value is not None},
        }


def cost(plan: Plan, due: Jobs | None = None, prices: Cost | None = None, speed: Speed | None = None) -> PlanCost:
    """What the `due` jobs cost (all by default), at the `prices` and the `speed` of a device where they are known."""
    prices = prices or Cost()
    work = count_work(plan, plan.layout.mosaic_jobs if due is None else due)
    traffic, time = count_traffic(plan, work), _device_time(work, prices, speed)
    terms = strictest(plan)
    licences = {f"{n}: {s.get('licence')} (derivatives: {s.get('derivatives')})" for n, s in plan.sources.items()}
    return PlanCost(
        work,
        traffic,
        time,
        _money(prices, time, traffic),
        len(plan.items),
        tuple(registration_notes(plan)),
        tuple(sorted(licences)),
        None if terms is None else f"{terms[0]} (source {', '.join(terms[1])})",
    )


def price(
    plan: Plan, due: Jobs | None = None, prices: Cost | None = None, speed: Speed | None = None
) -> dict[str, Any]:
    """The rows of `cost`."""
    return cost(plan, due, prices, speed).rows()


def _device_time(work: Work, prices: Cost, speed: Speed | None) -> DeviceTime:
    """By the speed of the request, else by the measured one, else by one that is assumed."""
    tiles = work.tiles - work.tiles_without_scene
    if prices.seconds_per_tile is not None:
        seconds, basis = tiles * prices.seconds_per_tile, f"{prices.seconds_per_tile:g} s a tile, as set"
    elif speed is not None:
        seconds, basis = work.network_calls * speed[0], f"{speed[0]:.3g} s a network call, {speed[1]}"
    else:
        seconds = tiles * work.passes * SECONDS_PER_TILE
        basis = f"{SECONDS_PER_TILE:g} s a tile and pass, assumed: set cost.seconds_per_tile, or run once"
    return DeviceTime(seconds / 3600, basis)


def _money(prices: Cost, time: DeviceTime, traffic: Traffic) -> Money:
    parts = ((time.hours, prices.device_hour), (traffic.requests / 1000, prices.thousand_requests))
    run = [amount * price for amount, price in parts if price is not None]
    month = None if prices.gb_month is None else traffic.bytes_written / 1e9 * prices.gb_month
    return Money(sum(run) if run else None, month)


def last_speed(plan: Plan, output: str) -> Speed | None:
    """The speed in the last run's report, if that run used the same network in the same way."""
    report = read_report(output)
    spent = 0.0 if report is None else report.seconds.get("sample", 0.0)
    if report is None or not report.calls or not spent:
        return None
    ran = read_json(join(output, "plans", f"{report.plan[:16]}.json"))
    own = plan.to_dict()
    alike = ran is not None and all(
        ran[part].get(key) == own[part][key]
        for part, keys in (("model", ("digest", "device", "dtype")), ("sampler", ("batch",)), ("lattice", ("tile_px",)))
        for key in keys
    )
    return (spent / report.calls, f"measured by the last run over {report.calls:,} calls") if alike else None


def picture_of_plan(plan: Plan, due: Jobs) -> bytes:
    """PNG of the region's jobs: done, due, without any scene, off land."""
    window, jobs = plan.layout.mosaic_jobs_window, plan.layout.mosaic_jobs
    is_due = due.on(window)
    return draw_shards(
        plan,
        f"plan of {plan.region.name}",
        [
            (str(JobState.DONE), jobs.on(window) & ~is_due),
            ("due", is_due),
            ("no scene", jobs.on(window) & ~with_scene(plan, window)),
            ("off land", plan.layout.map.off_land.on(window)),
        ],
    )
