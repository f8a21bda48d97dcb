"""Deploys template.yaml, with the functions built by cargo, into an AWS emulator.

    deploy.py --endpoint URL --template PATH [--stack NAME] [--parameter KEY=VALUE ...]
              [--function NAME=BINARY ...] [--secret NAME=FILE ...]

A function is named by the folder of its `CodeUri`: `api` for `CodeUri: functions/api`. A secret's
value is read from FILE, or from standard input if FILE is `-`; it never stands on the command line.

Progress goes to standard error. Standard output gets one JSON object: the stack's `outputs`, and
`api_prefix`, the path under which the emulator serves the HTTP API. Exit code 0 only if the stack is
complete, the API has its routes, and every event source and schedule is enabled: the emulator reports
success without them too.
"""

import argparse
import io
import json
import pathlib
import re
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
ARTIFACTS = "switchboard-artifacts"
CREATE_TIMEOUT_S = 60
POLL_S = 0.05
# The time stamp of every archive: the same binary gives the same archive, so the same code hash.
EPOCH = (1980, 1, 1, 0, 0, 0)


class DeployError(Exception):
    """Something that the message explains to whoever runs this."""


def main():
    arguments = parse_arguments()
    began = time.monotonic()
    try:
        result = Deployment(arguments.endpoint).run(arguments)
    except DeployError as error:
        return fail(error)
    except (BotoCoreError, ClientError) as error:
        return fail(f"the emulator at {arguments.endpoint} refused: {error}")
    except OSError as error:
        return fail(error)
    say(f"deployed in {time.monotonic() - began:.1f} s")
    print(json.dumps(result), flush=True)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description="Deploy template.yaml into an AWS emulator.")
    parser.add_argument("--endpoint", required=True, metavar="URL")
    parser.add_argument("--template", required=True, metavar="PATH", type=pathlib.Path)
    parser.add_argument("--stack", default="switchboard", metavar="NAME")
    for option, value in (("parameter", "VALUE"), ("function", "BINARY"), ("secret", "FILE")):
        parser.add_argument(f"--{option}", action="append", default=[], type=pair, metavar=f"KEY={value}")
    return parser.parse_args()


def pair(text):
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def say(line):
    print(line, file=sys.stderr, flush=True)


def fail(reason):
    say(f"deploy: {reason}")
    return 1


class Deployment:
    """One emulator and what is done to it."""

    def __init__(self, endpoint):
        session = boto3.Session(
            region_name=REGION,
            # Any key is as good as another in the emulator; none of the user's may get there.
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        # No archive is hashed on the way: over loopback that would only cost time.
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            proxies={},
            request_checksum_calculation="when_required",
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path", "payload_signing_enabled": False},
        )

        def client(service):
            return session.client(service, endpoint_url=endpoint, config=config)

        self.s3 = client("s3")
        self.secrets = client("secretsmanager")
        self.stacks = client("cloudformation")
        self.apis = client("apigatewayv2")
        self.functions = client("lambda")
        self.schedules = client("events")

    def run(self, arguments):
        for name, file in arguments.secret:
            self.create_secret(name, file)
        template = self.upload(arguments.template.read_text(), dict(arguments.function))
        outputs = self.create(arguments.stack, template, arguments.parameter)
        self.check(arguments.stack, outputs["ApiId"])
        return {"outputs": outputs, "api_prefix": f"/_aws/execute-api/{outputs['ApiId']}/$default"}

    def create_secret(self, name, file):
        value = sys.stdin.read() if file == "-" else pathlib.Path(file).read_text()
        try:
            json.loads(value)
        except ValueError:
            raise DeployError(f"secret {name}: {file} holds no JSON") from None
        self.secrets.create_secret(Name=name, SecretString=value)

    def upload(self, template, binaries):
        """Uploads every function's archive and points its `CodeUri` there."""
        wanted = re.findall(r"^ *CodeUri: functions/(\w+)$", template, re.MULTILINE)
        # The emulator answers 200 for a function without code, so none may be missed here.
        if not wanted or len(wanted) != template.count("Type: AWS::Serverless::Function"):
            raise DeployError("every function of the template needs a `CodeUri: functions/NAME`")
        for name, others in ((set(wanted) - set(binaries), "has no"), (set(binaries) - set(wanted), "has an unknown")):
            if name:
                raise DeployError(f"the command line {others} --function {', '.join(sorted(name))}")
        self.s3.create_bucket(Bucket=ARTIFACTS)

        def put(name):
            self.s3.put_object(Bucket=ARTIFACTS, Key=f"{name}.zip", Body=archive(pathlib.Path(binaries[name])))

        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(put, wanted))
        say(f"uploaded {', '.join(wanted)}")
        return re.sub(r"CodeUri: functions/(\w+)$", rf"CodeUri: s3://{ARTIFACTS}/\1.zip", template, flags=re.MULTILINE)

    def create(self, stack, template, parameters):
        """Creates the stack and waits for it; answers its outputs."""
        self.stacks.create_stack(
            StackName=stack,
            TemplateURL=self.upload_template(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        deadline = time.monotonic() + CREATE_TIMEOUT_S
        while True:
            state = self.stacks.describe_stacks(StackName=stack)["Stacks"][0]
            status = state["StackStatus"]
            if status == "CREATE_COMPLETE":
                break
            if status != "CREATE_IN_PROGRESS":
                raise DeployError(f"stack {stack}: {status}{self.reasons(stack)}")
            if time.monotonic() > deadline:
                raise DeployError(f"stack {stack} is still {status} after {CREATE_TIMEOUT_S} s")
            time.sleep(POLL_S)
        say(f"created stack {stack}")
        return {output["OutputKey"]: output["OutputValue"] for output in state.get("Outputs", [])}

    def upload_template(self, template):
        """CloudFormation takes no more than 51,200 bytes in a request, and a megabyte from a bucket."""
        self.s3.put_object(Bucket=ARTIFACTS, Key="template.yaml", Body=template.encode())
        return f"https://s3.{REGION}.amazonaws.com/{ARTIFACTS}/template.yaml"

    def reasons(self, stack):
        events = self.stacks.describe_stack_events(StackName=stack)["StackEvents"]
        failed = [e for e in events if e["ResourceStatus"].endswith("FAILED")]
        return "".join(f"\n  {e['LogicalResourceId']}: {e.get('ResourceStatusReason', '')}" for e in failed)

    def check(self, stack, api):
        """Proves what CREATE_COMPLETE does not: that the API leads somewhere and the triggers run."""
        resources = [
            resource
            for page in self.stacks.get_paginator("list_stack_resources").paginate(StackName=stack)
            for resource in page["StackResourceSummaries"]
        ]

        def of_type(kind):
            return [resource for resource in resources if resource["ResourceType"] == kind]

        routes = self.apis.get_routes(ApiId=api, MaxResults="500")["Items"]
        expected = len(of_type("AWS::ApiGatewayV2::Route"))
        if not routes or len(routes) != expected:
            raise DeployError(f"the API has {len(routes)} routes instead of {expected}")
        sources = of_type("AWS::Lambda::EventSourceMapping")
        if not sources:
            raise DeployError("the stack has no event sources: no call would ever be dialled")
        for source in sources:
            mapping = self.functions.get_event_source_mapping(UUID=source["PhysicalResourceId"])
            if mapping["State"] != "Enabled":
                raise DeployError(f"event source {source['LogicalResourceId']} is {mapping['State']}")
        rules = of_type("AWS::Events::Rule")
        if not rules:
            raise DeployError("the stack has no schedule: what is overdue would never be ended")
        for resource in rules:
            name = resource["PhysicalResourceId"]
            rule = self.schedules.describe_rule(Name=name)
            if rule["State"] != "ENABLED" or not rule.get("ScheduleExpression"):
                raise DeployError(f"schedule {resource['LogicalResourceId']} is {rule['State']} and without a time")
            if not self.schedules.list_targets_by_rule(Rule=name)["Targets"]:
                raise DeployError(f"schedule {resource['LogicalResourceId']} starts nothing")
        say(f"checked {len(routes)} routes, {len(sources)} event sources and {len(rules)} schedules")


def archive(binary):
    """The deployment package of a function: the binary as `bootstrap`, not compressed."""
    entry = zipfile.ZipInfo("bootstrap", EPOCH)
    entry.external_attr = 0o755 << 16
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as file:
        file.writestr(entry, binary.read_bytes())
    return package.getvalue()


if __name__ == "__main__":
    sys.exit(main())
