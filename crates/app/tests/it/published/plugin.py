"""Part of pytest while it runs the published tests of the `ollama` package: leads them through the gateway, and writes down each
verdict beside what their server received."""

import json
import os

import pytest
from pytest_httpserver import HTTPServer

GATEWAY = os.environ.get("BELLWETHER_TEST_GATEWAY")
# They belong to one connection, or are the gateway's to set.
NOT_COMPARED = {"Host", "Connection", "Content-Length", "Transfer-Encoding", "Accept-Encoding"}

if GATEWAY:
    HTTPServer.url_for = lambda _self, suffix: GATEWAY + os.environ.get("BELLWETHER_TEST_BASE", suffix)


def pytest_configure(config):
    config.bellwether_report = open(os.environ["BELLWETHER_TEST_REPORT"], "w", encoding="utf-8")


def pytest_unconfigure(config):
    config.bellwether_report.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        server = item.funcargs.get("httpserver")
        received = [received_of(request) for request, _ in server.log] if server else []
        line = {"test": item.nodeid, "when": report.when, "verdict": report.outcome, "received": received}
        if report.failed:
            print(report.longreprtext)
        print(json.dumps(line), file=item.config.bellwether_report)
    return report


def received_of(request):
    headers = sorted((name, value) for name, value in request.headers if name not in NOT_COMPARED)
    return [request.method, request.full_path, headers, request.get_data().decode("latin-1")]
