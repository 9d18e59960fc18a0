"""The flow `sr-region`: from a region to a published mosaic.

    region -> search -> measure -> plan -> stage -> sample -> mosaic -> publish

Running it again with the same request does what is due and nothing else. A run some of whose jobs failed publishes what
the others wrote, and then ends as failed: nobody looks at a night that says it went well.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from dsdit.store.objects import join
from flows.logs import plain_errors
from flows.plan.make_plan import utc_now
from flows.publish.outcome import check_all_done
from flows.request.request import load_request
from flows.tasks import check_nightly, hold_output, make_sample, plan_region, process, publish_region

plain_errors()


@flow(name="sr-region", log_prints=True)
def sr_region(region: str = "sample", overrides: dict[str, Any] | None = None, nightly: bool = False) -> dict[str, str]:
    """Super-resolves one region.

    Args:
        region: name of a request that ships (sample), or the path of a request's YAML file.
        overrides: keys of the request to replace, such as {"compute": {"workers": 4}}.
        nightly: whether it runs again and again while others read; refused where they would see a half-written state.

    Returns:
        Locations of mosaic, picture, STAC item and COG.
    """
    request = load_request(region, overrides)
    if nightly:
        check_nightly(request)
    now = utc_now()
    if request.sample_region is not None:
        make_sample(request.sample_region)
    with hold_output(request, now) as lease:
        plan_url = plan_region(request, now, lease)
        night = process(request, plan_url, lease)
        places = publish_region(request, plan_url, lease, night)
    check_all_done(request, night)
    return {**places, "report": join(request.output, "report.json")}
