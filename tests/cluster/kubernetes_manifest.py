"""kubernetes_manifest.py MANIFEST: checks configs/cluster/kubernetes.yaml.

Against the schemas of Kubernetes' API, the strict ones, which know no other
fields, of every version that the package kubernetes-validate has; and that the
parts of the manifest agree with each other. Prints what was checked and, with
--command, nothing but the container's command, an argument a line.
"""

import sys

import kubernetes_validate
import yaml


def one(documents, kind):
  found = [d for d in documents if d["kind"] == kind]
  if len(found) != 1:
    raise ValueError(f"{len(found)} documents of kind {kind}, wanted one")
  return found[0]


def options_of(command):
  """The launcher's, as a map."""
  words = command[2:command.index("--")]
  for word in words:
    if not word.startswith("--") or "=" not in word:
      raise ValueError(f"command: {word}, wanted --option=value")
  return dict(word[2:].split("=", 1) for word in words)


def versions():
  """Those whose schemas are there, the oldest first."""
  found = set(kubernetes_validate.utils.all_versions())
  return sorted(found, key=lambda v: [int(part) for part in v.split(".")])


def disagreements(documents):
  """Sentences."""
  service, job = one(documents, "Service"), one(documents, "Job")
  name, spec = job["metadata"]["name"], job["spec"]
  pod = spec["template"]["spec"]
  container, = pod["containers"]
  options = options_of(container["command"])
  port = str(service["spec"]["ports"][0]["port"])
  limits = container["resources"]["limits"]
  host = f"{name}-0.{service['metadata']['name']}"
  checks = [
      # The number of pods.
      ("parallelism", spec["parallelism"], spec["completions"]),
      ("--nnodes", options["nnodes"], str(spec["completions"])),
      # What makes host names of pods that the service leads to.
      ("completionMode", spec["completionMode"], "Indexed"),
      ("subdomain", pod["subdomain"], service["metadata"]["name"]),
      ("selector", service["spec"]["selector"], {"job-name": name}),
      ("clusterIP", service["spec"]["clusterIP"], "None"),
      ("--coordinator", options["coordinator"], f"{host}:{port}"),
      ("--listen", options["listen"], f"0.0.0.0:{port}"),
      # A rank for each GPU.
      ("nvidia.com/gpu", str(limits["nvidia.com/gpu"]), options["nproc"]),
      ("volumes", {v["name"] for v in pod["volumes"]},
       {m["name"] for m in container["volumeMounts"]}),
      ("variables", [v["name"] for v in container["env"]], ["NEXTWORD_TOKEN"]),
  ]
  return [f"{what}: is {seen}, wanted {wanted}"
          for what, seen, wanted in checks if seen != wanted]


def main(arguments):
  with open(arguments[-1], encoding="utf-8") as file:
    documents = [d for d in yaml.safe_load_all(file) if d is not None]
  if arguments[0] == "--command":
    job = one(documents, "Job")
    print("\n".join(
        job["spec"]["template"]["spec"]["containers"][0]["command"]))
    return 0
  status = 0
  for document in documents:
    try:
      for version in versions():
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
      path = ".".join(str(part) for part in error.path)
      print(f"{document['kind']}: Kubernetes {error.version}: {path}: "
            f"{error.message}", file=sys.stderr)
      status = 1
    else:
      print(f"{document['kind']:<24} {'-':<18} as Kubernetes {versions()[0]} "
            f"to {versions()[-1]} want it")
  for sentence in disagreements(documents):
    print(sentence, file=sys.stderr)
    status = 1
  return status


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
