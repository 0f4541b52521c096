#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Let a Prometheus scrape saved metrics, and ask it all that a dashboard and alert rules ask.

prometheus-replay.py PROMETHEUS RULES SCRAPES: RULES has dashboard.json and alerts.yml, SCRAPES has N.om, which are
served one after the other, once a second; the last one stays.
"""
import http.server
import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
METRIC = re.compile(r"^gmem_[a-z0-9_]+", re.MULTILINE)
SELECTOR = re.compile(r"\bgmem_[a-z0-9_]+(?:\{[^}]*\})?")
WINDOW = "2m"


class Replay(http.server.BaseHTTPRequestHandler):
    """Serves the next of the scrapes each time."""

    scrapes = []
    served = 0

    def do_GET(self):
        body = self.scrapes[min(Replay.served, len(self.scrapes) - 1)]
        Replay.served += 1
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Prometheus:
    """A Prometheus of our own, that scrapes one target and has one file of rules."""

    def __init__(self, program, target, rules, directory):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % s.getsockname()[1]
        config = directory / "prometheus.yml"
        # JSON is YAML, too.
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "gmem-trace", "static_configs": [{"targets": [target]}]}],
        }))
        self.log = open(directory / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [program, "--config.file=%s" % config, "--storage.tsdb.path=%s" % (directory / "data"),
             "--web.listen-address=" + self.address, "--log.level=warn"],
            stdout=self.log, stderr=subprocess.STDOUT)

    def ask(self, path, **arguments):
        url = "http://%s/api/v1/%s?%s" % (self.address, path, urllib.parse.urlencode(arguments))
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, query):
        """What an instant query answers: a value for each series."""
        answer = self.ask("query", query=query)
        return [float(series["value"][1]) for series in answer["result"]]

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.seek(0)
        return self.log.read()


def wait_for(what, condition, seconds=120):
    for _ in range(seconds * 5):
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("in vain: " + what)


def fill_in(query):
    """What Grafana puts in place of its variables, when all hosts and VMs are chosen."""
    query = query.replace("$__rate_interval", WINDOW)
    return query.replace("$instance", ".*").replace("$vm", ".*")


def dashboard_queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], fill_in(target["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            yield "$" + variable["name"], "count by (%s) (%s)" % (label, fill_in(selector))


def check_queries(prometheus, dashboard, problems):
    number = 0
    for title, query in dashboard_queries(dashboard):
        number += 1
        if "$" in query:
            problems.append("%s: a variable is left in %s" % (title, query))
            continue
        values = prometheus.values(query)
        if all(math.isnan(v) for v in values):
            problems.append("%s: %s for %s" % (title, "no number" if values else "no answer", query))
    return number


def check_rules(prometheus, problems):
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            problems.append("%s: %s %s" % (rule["name"], rule["health"], rule.get("lastError")))
        for selector in SELECTOR.findall(rule["query"]):
            if not prometheus.values(selector):
                problems.append("%s: there is no %s" % (rule["name"], selector))
    return len(rules)


def check_counters(prometheus, names, problems):
    """No counter was reset, nor left out in any scrape."""
    counters = [n for n in names if re.search("_(total|bucket|sum|count)$", n)]
    for name in counters:
        if any(prometheus.values("resets(%s[10m])" % name)):
            problems.append("%s was reset" % name)
    return len(counters)


def main():
    program, rules, scrapes = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    dashboard = json.loads((rules / "dashboard.json").read_text(encoding="utf-8"))
    files = sorted(scrapes.glob("*.om"), key=lambda f: int(f.stem))
    Replay.scrapes = [f.read_bytes() for f in files]
    exported = set(METRIC.findall(Replay.scrapes[-1].decode()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    problems = []

    with tempfile.TemporaryDirectory() as directory:
        prometheus = Prometheus(program, "127.0.0.1:%d" % server.server_port, (rules / "alerts.yml").resolve(),
                                pathlib.Path(directory))
        try:
            wait_for("scrapes", lambda: Replay.served > len(files) + 2)
            wait_for("rules", lambda: all(rule["health"] != "unknown" for group in prometheus.ask("rules")["groups"]
                                          for rule in group["rules"]))
            target = prometheus.ask("targets")["activeTargets"][0]
            if target["health"] != "up" or target["lastError"]:
                problems.append("the scrape: %s %s" % (target["health"], target["lastError"]))
            names = {n for n in prometheus.ask("label/__name__/values") if n.startswith("gmem_")}
            if names != exported:
                problems.append("exported and scraped differ: %s" % sorted(names ^ exported))
            queries = check_queries(prometheus, dashboard, problems)
            alerts = check_rules(prometheus, problems)
            counters = check_counters(prometheus, names, problems)
        finally:
            log = prometheus.close()
    # At the end it is told to stop.
    log = [line for line in log.splitlines() if "SIGTERM" not in line]
    if log:
        problems.append("Prometheus says: " + "\n".join(log))
    for problem in problems:
        print(problem)
    print("%d scrapes, %d metrics, %d queries of the dashboard, %d alerts, %d counters" %
          (len(files), len(names), queries, alerts, counters))
    sys.exit(1 if problems else 0)


main()
