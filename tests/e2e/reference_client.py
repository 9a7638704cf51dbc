"""Introspects every socket below a run directory with the reference Varlink client, and makes calls."""

import pathlib
import sys

import varlink


def look(run, path):
    """Reads every interface of a socket and calls what every daemon answers."""
    with varlink.Client(address=f"unix:{path}") as client:
        names = client.get_interfaces()
        with client.open("org.varlink.service") as service:
            info = service.GetInfo()
            assert set(info["interfaces"]) == set(names), (path, info)
            for name in info["interfaces"]:
                description = service.GetInterfaceDescription(name)["description"]
                parsed = varlink.Interface(description)
                assert parsed.name == name, (path, name, parsed.name)
        with client.open("acp.daemon") as daemon:
            health = daemon.GetHealth()
            assert health["ready"], (path, health)
            assert "# TYPE" in daemon.GetMetrics()["text"]
    print(f"{path.relative_to(run)}: {health['service']} {health['version']}, {len(names)} interfaces")


def call(run):
    """Calls, streams and is refused."""
    with varlink.Client(address=f"unix:{run / 'cluster.sock'}") as client, client.open("acp.cluster") as cluster:
        found = cluster.Get(kind="system", name="snake")
        assert found["object"]["name"] == "snake", found
        kinds = {kind for reply in cluster.List(kind="pool", _more=True) for kind in (o["kind"] for o in reply["objects"])}
        assert kinds == {"pool"}, kinds
        watch = cluster.Watch(kinds=["network"], _more=True)
        first = next(watch)
        assert any(event["change"] == "put" for event in first["events"]), first
        watch.close()
    with varlink.Client(address=f"unix:{run / 'cluster.sock'}") as client, client.open("acp.cluster") as cluster:
        try:
            cluster.Get(kind="system", name="nobody")
        except varlink.VarlinkError as error:
            assert error.error() == "acp.error.NotFound", error.error()
            assert "nobody" in error.parameters()["message"], error.parameters()
        else:
            raise AssertionError("a system that does not exist was found")


def main():
    run = pathlib.Path(sys.argv[1])
    sockets = sorted(path for path in run.rglob("*.sock") if path.is_socket() and path.name not in ("qmp.sock", "console.sock"))
    for path in sockets:
        look(run, path)
    call(run)


main()
