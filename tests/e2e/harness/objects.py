"""Object stores: moto's S3 and Microsoft's Azurite, each a process of its own, and a look at what is in them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.ports import free_port, wait_until_listening

KEY, SECRET = "tester", "geheimer-schluessel"
ACCOUNT = "devstoreaccount1"
# Published by Microsoft for its emulator.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class _Process:
    """A server that is started again on the same port by `start`; it keeps nothing."""

    def __init__(self, log):
        self.log_file, self.port = Path(log), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        with open(self.log_file, "ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=self.log_file.parent,
            )
        wait_until_listening(self.port, self.process)
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.killpg(self.process.pid, signal.SIGCONT)


class Moto(_Process):
    def command(self):
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def client(self):
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )

    def make(self, name="tiles"):
        self.client().create_bucket(Bucket=name)
        return self

    def objects(self, name="tiles"):
        """Keys and content types."""
        client = self.client()
        listed = client.list_objects_v2(Bucket=name).get("Contents", [])
        return {o["Key"]: client.head_object(Bucket=name, Key=o["Key"])["ContentType"] for o in listed}

    def options(self):
        return f"type: s3, bucket_name: tiles, endpoint_url: '{self.url}'"


class Azurite(_Process):
    def command(self):
        program = Path(sys.prefix).parent / "npm/node_modules/azurite/dist/src/blob/main.js"
        assert program.exists(), f"{program} is missing: run tests/e2e/setup"
        return [
            str(Path(sys.executable).with_name("node")), str(program), "--blobHost", "127.0.0.1",
            "--blobPort", str(self.port), "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck",
        ]

    @property
    def connection_string(self):
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.url}/{ACCOUNT};"
        )

    def client(self, name="tiles"):
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string).get_container_client(name)

    def make(self, name="tiles"):
        self.client(name).create_container()
        return self

    def objects(self, name="tiles"):
        return {blob.name: blob.content_settings.content_type for blob in self.client(name).list_blobs()}

    def options(self):
        return f"type: azureblob, container_name: tiles, connection_string: '{self.connection_string}'"
