"""What a controller and its namespaces are: `python identify.py [ADDRESS]...`, by default "mock:?namespaces=2".

Every structure of the specification is a table of its fields: what is printed here, `to_dict` gives for JSON.
"""

import sys

import aionvme
from aionvme.spec.identify import Nidt
from aionvme.spec.opcodes import Cns


def show(title: str, **facts: object) -> None:
    """Prints a heading, and facts below it."""
    print(title)
    for name, value in facts.items():
        print(f"  {name.replace('_', ' '):<24}{value}")


async def main(addresses: list[str]) -> None:
    """Identifies each controller, and each of its namespaces."""
    for address in addresses:
        async with aionvme.connect(address) as ctrlr:
            data = ctrlr.data
            show(
                f"Controller {address}",
                model=data.mn.strip(),
                serial=data.sn.strip(),
                firmware=data.fr.strip(),
                version=".".join(map(str, ctrlr.version)),
                controller_identifier=data.cntlid,
                subsystem=data.subnqn,
                vendor=f"{ctrlr.pci_dev.vendor_id:04x}",
                most_bytes_of_a_command=ctrlr.max_transfer or "no limit",
                commands_to_be_aborted=data.acl + 1,
                SGLs="yes" if data.sgls & 3 else "no",
                write_cache="yes" if data.vwc & 1 else "no",
                controllers_of_subsystem=(await ctrlr.identify(Cns.CONTROLLERS)),
            )
            for ns in ctrlr.namespaces.values():
                names = await ctrlr.identify(Cns.NAMESPACE_DESCRIPTORS, nsid=ns.nsid)
                show(
                    f"Namespace {ns.nsid}",
                    blocks=ns.nblocks,
                    block_size=ns.block_size,
                    metadata_size=ns.metadata_size,
                    protection_information=f"type {ns.pi_type}" if ns.pi_type else "none",
                    **{Nidt(name.nidt).name: name.nid.hex() for name in names},
                )


aionvme.run(main(sys.argv[1:] or ["mock:?namespaces=2"]))
