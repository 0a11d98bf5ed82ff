"""Make, or bring up to date, what the Prefect server must know before a Cloud Run run: where results are kept.

    PREFECT_API_URL=… python deployments/cloud_run/blocks.py gs://my-bucket/prefect-results

The block `gcs-bucket/clearyear-results` holds a bucket and a folder, no key: whoever uses it is whoever it runs as.
"""

import sys

from prefect_gcp import GcpCredentials, GcsBucket

NAME = "clearyear-results"


def main(arguments: list[str]) -> int:
    """Write the block; 2 if the address is none."""
    if len(arguments) != 1 or not arguments[0].startswith("gs://"):
        print(__doc__, file=sys.stderr)
        return 2
    bucket, _, folder = arguments[0].removeprefix("gs://").rstrip("/").partition("/")
    GcsBucket.register_type_and_schema()
    block = GcsBucket(bucket=bucket, bucket_folder=folder, gcp_credentials=GcpCredentials())
    block.save(NAME, overwrite=True)
    print(f"gcs-bucket/{NAME}: gs://{bucket}/{folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
