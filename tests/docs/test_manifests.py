"""The manifests and jobs of the pages about launching are what they say they are."""

import configparser
import json
import re
import shlex

import yaml

from flowtrain.cli.launch import command
from flowtrain.cli.places import slurm_script

from .pages import DOCS


def fenced(page, language):
    text = (DOCS / "howto" / f"launch-{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def options(words):
    """The options of a ``flowtrain launch`` command, as it reads them itself."""
    program, name = words[:2]
    assert program.rpartition("/")[2] == "flowtrain" and name == "launch"
    return command.make_context("launch", words[2:]).params


def same_volume(pod, name):
    (volume,) = pod["volumes"]
    (container,) = pod["containers"]
    return (
        volume["persistentVolumeClaim"]["claimName"] == name and container["volumeMounts"][0]["name"] == volume["name"]
    )


def test_the_service_for_one_machine():
    unit = configparser.ConfigParser(interpolation=None)  # keys in any case
    unit.read_string(*fenced("one-machine", "ini"))
    service = unit["Service"]
    given = options(shlex.split(service["ExecStart"]))
    assert (given["num"], given["gpus"], given["restarts"], given["args"]) == (4, 1, 3, ("--rate", "0.1"))
    assert service["KillMode"] == "mixed" and int(service["TimeoutStopSec"]) > 5
    assert service["SuccessExitStatus"] == "143"
    (shown,) = [line for block in fenced("one-machine", "") for line in block.splitlines()]
    assert options(shlex.split(shown)) == given


def test_the_job_for_slurm_is_the_one_that_the_command_writes():
    text = (DOCS / "howto" / "launch-slurm.md").read_text()
    (shown,) = re.findall(r"`(flowtrain launch --slurm --print .*?)`", text)
    given = options(shlex.split(shown))
    job = slurm_script([given["script"], *given["args"]], given["num"], given["gpus"], given["restarts"])
    assert fenced("slurm", "bash") == [job]


def test_the_kubernetes_manifest():
    claim, job = yaml.safe_load_all(*fenced("kubernetes", "yaml"))
    assert (claim["kind"], job["kind"], job["apiVersion"]) == ("PersistentVolumeClaim", "TFJob", "kubeflow.org/v1")
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "tensorflow"  # the operator looks for this name
    assert {"name": "FLOWTRAIN_RESUME", "value": "auto"} in container["env"]
    assert same_volume(pod, claim["metadata"]["name"])
    assert worker["replicas"] > 1 and json.dumps(job)


def test_the_manifest_for_ray_has_room_for_what_its_command_wants():
    (job,) = yaml.safe_load_all(*fenced("ray", "yaml"))
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    folder, _, line = job["spec"]["entrypoint"].partition(" && ")
    given = options(shlex.split(line))
    assert given["ray"] == "auto" and given["restarts"] and given["args"] == ()
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == given["num"]
    assert limits["cpu"] >= given["cpus"] and limits["nvidia.com/gpu"] >= given["gpus"]
    for pod in (cluster["headGroupSpec"]["template"]["spec"], group["template"]["spec"]):
        assert same_volume(pod, "run") and folder.removeprefix("cd ").startswith(
            pod["containers"][0]["volumeMounts"][0]["mountPath"] + "/"
        )
    shown = [line for block in fenced("ray", "") for line in block.splitlines() if line.startswith("flowtrain")]
    assert [options(shlex.split(line))["num"] for line in shown] == [given["num"]]
