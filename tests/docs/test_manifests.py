"""The manifests and jobs of the how-to about many machines are what they say they are."""

import json
import re

import yaml

from flowtrain.cli.places import slurm_script

from .pages import DOCS

PAGE = (DOCS / "howto" / "many-machines.md").read_text()


def fenced(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_job_for_slurm_is_the_one_that_the_command_writes():
    command = re.search(r"`flowtrain launch --slurm --print (.*?)`", PAGE)[1].split()
    given = dict(zip(command[:-1:2], map(int, command[1:-1:2]), strict=True))
    assert fenced("bash") == [slurm_script(command[-1:], given["-n"], given["--gpus"], given["--restarts"])]


def test_the_kubernetes_manifest():
    claim, job = yaml.safe_load_all(*fenced("yaml"))
    assert (claim["kind"], job["kind"], job["apiVersion"]) == ("PersistentVolumeClaim", "TFJob", "kubeflow.org/v1")
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "tensorflow"  # the operator looks for this name
    assert {"name": "FLOWTRAIN_RESUME", "value": "auto"} in container["env"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container["volumeMounts"][0]["name"] == volume["name"]
    assert worker["replicas"] > 1 and json.dumps(job)
