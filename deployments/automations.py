"""Put the automations of automations.yaml onto the Prefect server, or bring them up to date there.

    PREFECT_API_URL=… python deployments/automations.py https://hooks.slack.com/services/…

The address gets {"text": "…"} by POST: what incoming webhooks of Slack, Mattermost and Google Chat understand. It is
kept as a secret in the block `webhook/clearyear-alerts`. Unlike `prefect automation create --from-file`, running it
again changes what is there instead of adding a second one.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.types import SecretDict
from pydantic import SecretStr

BLOCK = "clearyear-alerts"


def main(arguments: list[str]) -> int:
    """Write the block and the automations; 2 if the address is none."""
    if len(arguments) != 1 or not arguments[0].startswith(("https://", "http://")):
        print(__doc__, file=sys.stderr)
        return 2
    Webhook.register_type_and_schema()
    headers = SecretDict({"Content-Type": "application/json"})
    block = Webhook(method="POST", url=SecretStr(arguments[0]), headers=headers).save(BLOCK, overwrite=True)
    with get_client(sync_client=True) as client:
        for automation in read_automations({BLOCK: str(block)}):
            there = client.read_automations_by_name(automation.name)
            for old in there[:1]:
                client.update_automation(old.id, automation)
            for second in there[1:]:
                client.delete_automation(second.id)
            if not there:
                client.create_automation(automation)
            print(f"{automation.name}: {'updated' if there else 'created'}")
    return 0


def read_automations(blocks: dict[str, str]) -> list[AutomationCore]:
    """The automations of the file, with the ids of blocks in place of their names."""
    documents: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    for document in documents:
        for action in document["actions"]:
            if name := action.get("block_document_id"):
                action["block_document_id"] = blocks[name]
    return [AutomationCore.model_validate(document) for document in documents]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
