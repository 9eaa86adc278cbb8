"""Owns the one declaration of SPDK's functions: parameters in SPDK's order, and what of ours each is.

The documentation's table is made of it, and the tests hold every function against it.
"""

from __future__ import annotations

import attrs


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The header that names and parameters were taken from, and the announcement that came before it.
HEADER = "include/spdk/nvme.h of SPDK's main branch after 26.05 (towards 26.09)"
ANNOUNCEMENT = "https://spdk.io/feature/2016/03/03/nvme-api/"


@attrs.frozen
class Function:
    """One function.

    Attributes:
        name: SPDK's.
        parameters: SPDK's names in SPDK's order.
        ours: What it is in this package.
        blocks: It blocks without a running loop, and returns an awaitable inside one.
        announced: The parameters that the announcement has, where they are others; taken as well.
    """

    name: str
    parameters: tuple[str, ...] = attrs.field(converter=_words)
    ours: str
    blocks: bool = False
    announced: tuple[str, ...] = attrs.field(default="", converter=_words)


_RW = "lba lba_count cb_fn cb_arg io_flags"
_SGL = "reset_sgl_fn next_sge_fn"
_MD = "metadata apptag_mask apptag"
_LBA = "lba lba_count cb_fn cb_arg"


def _transfers(name: str, *, ext: bool) -> list[Function]:
    plain, vector = f"spdk_nvme_ns_cmd_{name}", f"spdk_nvme_ns_cmd_{name}v"
    one, many = f"qp.submit_{name}", f"qp.submit_{name}v"
    found = [
        Function(plain, f"ns qpair payload {_RW}", one),
        Function(f"{plain}_with_md", f"ns qpair payload metadata {_RW} apptag_mask apptag", one),
        Function(vector, f"ns qpair {_RW} {_SGL}", many),
        Function(f"{vector}_with_md", f"ns qpair {_RW} {_SGL} {_MD}", many),
    ]
    if ext:
        found += [
            Function(f"{plain}_ext", f"ns qpair payload {_LBA} opts", one),
            Function(f"{vector}_ext", f"ns qpair {_LBA} {_SGL} opts", many),
            Function(f"{plain}_iov", f"ns qpair {_LBA} iov iov_count opts", many),
        ]
    return found


_C = "spdk_nvme_ctrlr_"
_FEATURE = "payload payload_size cb_fn cb_arg"

SECTIONS: dict[str, tuple[Function, ...]] = {
    "Finding, attaching and detaching": (
        Function(
            "spdk_nvme_probe",
            "trid cb_ctx probe_cb attach_cb remove_cb",
            "aionvme.probe",
            blocks=True,
            announced="cb_ctx probe_cb attach_cb",
        ),
        Function("spdk_nvme_probe_async", "trid cb_ctx probe_cb attach_cb remove_cb", "aionvme.probe"),
        Function("spdk_nvme_probe_poll_async", "probe_ctx", "the event loop"),
        Function("spdk_nvme_connect", "trid opts opts_size", "aionvme.connect", blocks=True),
        Function("spdk_nvme_connect_async", "trid opts attach_cb", "aionvme.connect"),
        Function("spdk_nvme_scan_attached", "trid", "remove_cb of aionvme.probe"),
        Function("spdk_nvme_detach", "ctrlr", "aionvme.detach", blocks=True),
        Function("spdk_nvme_detach_async", "ctrlr detach_ctx", "aionvme.detach"),
        Function("spdk_nvme_detach_poll_async", "detach_ctx", "the event loop"),
        Function("spdk_nvme_detach_poll", "detach_ctx", "the event loop", blocks=True),
        Function("spdk_nvme_transport_id_parse", "trid str", "the addresses of aionvme.connect"),
    ),
    "Controllers": (
        Function(f"{_C}get_data", "ctrlr", "ctrlr.data"),
        Function(f"{_C}get_default_ctrlr_opts", "opts opts_size", "ControllerOptions()"),
        Function(f"{_C}get_opts", "ctrlr", "ctrlr.opts"),
        Function(f"{_C}get_transport_id", "ctrlr", "ctrlr.pci_dev"),
        Function(f"{_C}get_max_xfer_size", "ctrlr", "ctrlr.max_transfer"),
        Function(f"{_C}is_failed", "ctrlr", "ctrlr.closed"),
        Function(f"{_C}set_remove_cb", "ctrlr remove_cb remove_ctx", "remove_cb of aionvme.probe"),
        Function(f"{_C}reset", "ctrlr", "ctrlr.reset", blocks=True),
        Function(f"{_C}reset_subsystem", "ctrlr", "ctrlr.subsystem_reset", blocks=True),
        Function(f"{_C}register_aer_callback", "ctrlr aer_cb_fn aer_cb_arg", "ctrlr.on_event"),
        Function(f"{_C}process_admin_completions", "ctrlr", "the controller's poller"),
    ),
    "Namespaces": (
        Function(f"{_C}get_num_ns", "ctrlr", "ctrlr.data.nn"),
        Function(f"{_C}get_ns", "ctrlr ns_id", "ctrlr.namespaces[nsid]"),
        Function(f"{_C}is_active_ns", "ctrlr nsid", "nsid in ctrlr.namespaces"),
        Function(f"{_C}get_first_active_ns", "ctrlr", "min(ctrlr.namespaces)"),
        Function(f"{_C}get_next_active_ns", "ctrlr prev_nsid", "ctrlr.namespaces"),
        Function("spdk_nvme_ns_get_id", "ns", "ns.nsid"),
        Function("spdk_nvme_ns_get_ctrlr", "ns", "the controller"),
        Function("spdk_nvme_ns_get_data", "ns", "ns.data"),
        Function("spdk_nvme_ns_is_active", "ns", "nsid in ctrlr.namespaces"),
        Function("spdk_nvme_ns_get_sector_size", "ns", "ns.block_size"),
        Function("spdk_nvme_ns_get_extended_sector_size", "ns", "ns.block_size + ns.metadata_size"),
        Function("spdk_nvme_ns_get_num_sectors", "ns", "ns.nblocks"),
        Function("spdk_nvme_ns_get_size", "ns", "ns.nbytes"),
        Function("spdk_nvme_ns_get_md_size", "ns", "ns.metadata_size"),
        Function("spdk_nvme_ns_get_pi_type", "ns", "ns.data.protection_type"),
        Function("spdk_nvme_ns_supports_extended_lba", "ns", "ns.extended"),
        Function("spdk_nvme_ns_supports_compare", "ns", "ctrlr.data.oncs"),
        Function("spdk_nvme_ns_supports_write_uncorrectable", "ns", "ctrlr.data.oncs"),
        Function("spdk_nvme_ns_get_optimal_io_boundary", "ns", "ns.boundary"),
        Function("spdk_nvme_ns_get_max_io_xfer_size", "ns", "ctrlr.max_transfer"),
        Function("spdk_nvme_ns_get_flags", "ns", "ctrlr.data.oncs, ns.data"),
    ),
    "Namespace management": (
        Function(f"{_C}create_ns", "ctrlr payload", "ctrlr.create_ns", blocks=True),
        Function(f"{_C}delete_ns", "ctrlr nsid", "ctrlr.delete_ns", blocks=True),
        Function(f"{_C}attach_ns", "ctrlr nsid payload", "ctrlr.attach_ns", blocks=True),
        Function(f"{_C}detach_ns", "ctrlr nsid payload", "ctrlr.detach_ns", blocks=True),
        Function(f"{_C}format", "ctrlr nsid format", "ctrlr.format_nvm", blocks=True),
    ),
    "Log pages, features and other admin commands": (
        Function(f"{_C}is_log_page_supported", "ctrlr log_page", "ctrlr.is_log_page_supported"),
        Function(f"{_C}is_feature_supported", "ctrlr feature_code", "ctrlr.is_feature_supported"),
        Function(
            f"{_C}cmd_get_log_page",
            "ctrlr log_page nsid payload payload_size offset cb_fn cb_arg",
            "ctrlr.submit_get_log_page",
            announced="ctrlr log_page nsid payload payload_size cb_fn cb_arg",
        ),
        Function(
            f"{_C}cmd_get_log_page_ext",
            "ctrlr log_page nsid payload payload_size offset cdw10 cdw11 cdw14 cb_fn cb_arg",
            "ctrlr.submit_admin_raw",
        ),
        Function(f"{_C}cmd_get_feature", f"ctrlr feature cdw11 {_FEATURE}", "ctrlr.submit_admin_raw"),
        Function(
            f"{_C}cmd_get_feature_ns", f"ctrlr feature cdw11 {_FEATURE} ns_id", "ctrlr.submit_admin_raw"
        ),
        Function(f"{_C}cmd_set_feature", f"ctrlr feature cdw11 cdw12 {_FEATURE}", "ctrlr.submit_admin_raw"),
        Function(
            f"{_C}cmd_set_feature_ns", f"ctrlr feature cdw11 cdw12 {_FEATURE} ns_id", "ctrlr.submit_admin_raw"
        ),
        Function(f"{_C}cmd_abort", "ctrlr qpair cid cb_fn cb_arg", "ctrlr.submit_admin_raw"),
        Function(f"{_C}cmd_admin_raw", "ctrlr cmd buf len cb_fn cb_arg", "ctrlr.submit_admin_raw"),
    ),
    "Queue pairs": (
        Function(f"{_C}get_default_io_qpair_opts", "ctrlr opts opts_size", "ctrlr.opts"),
        Function(
            f"{_C}alloc_io_qpair",
            "ctrlr opts opts_size",
            'ctrlr.alloc_io_qpair(completion="manual")',
            blocks=True,
            announced="ctrlr qprio",
        ),
        Function(f"{_C}free_io_qpair", "qpair", "qp.close", blocks=True),
        Function("spdk_nvme_qpair_process_completions", "qpair max_completions", "qp.process_completions"),
        Function("spdk_nvme_qpair_get_id", "qpair", "qp.qid"),
        Function("spdk_nvme_qpair_get_queue_depth", "qpair", "qp.depth"),
        Function("spdk_nvme_qpair_get_num_outstanding_reqs", "qpair", "qp.outstanding"),
        Function("spdk_nvme_qpair_is_connected", "qpair", "not qp.closed"),
    ),
    "Reads, writes and compares": (
        *_transfers("read", ext=True),
        *_transfers("write", ext=True),
        *_transfers("compare", ext=False),
    ),
    "Ranges of blocks": (
        Function("spdk_nvme_ns_cmd_write_zeroes", f"ns qpair {_RW}", "qp.submit_write_zeroes"),
        Function("spdk_nvme_ns_cmd_write_uncorrectable", f"ns qpair {_LBA}", "qp.submit_write_uncorrectable"),
        Function("spdk_nvme_ns_cmd_verify", f"ns qpair {_RW}", "qp.submit_verify"),
        Function("spdk_nvme_ns_cmd_flush", "ns qpair cb_fn cb_arg", "qp.submit_flush"),
        Function(
            "spdk_nvme_ns_cmd_dataset_management",
            "ns qpair type ranges num_ranges cb_fn cb_arg",
            "qp.submit_dataset_management",
        ),
        Function(
            "spdk_nvme_ns_cmd_copy", "ns qpair ranges num_ranges dest_lba cb_fn cb_arg", "qp.submit_copy"
        ),
    ),
    "Reservations": (
        Function(
            "spdk_nvme_ns_cmd_reservation_register",
            "ns qpair payload ignore_key action cptpl cb_fn cb_arg",
            "qp.submit_reservation_register",
        ),
        Function(
            "spdk_nvme_ns_cmd_reservation_acquire",
            "ns qpair payload ignore_key action type cb_fn cb_arg",
            "qp.submit_reservation_acquire",
        ),
        Function(
            "spdk_nvme_ns_cmd_reservation_release",
            "ns qpair payload ignore_key action type cb_fn cb_arg",
            "qp.submit_reservation_release",
        ),
        Function(
            "spdk_nvme_ns_cmd_reservation_report", "ns qpair payload len cb_fn cb_arg", "qp.submit_io_raw"
        ),
    ),
    "Raw I/O commands": (
        Function(f"{_C}cmd_io_raw", "ctrlr qpair cmd buf len cb_fn cb_arg", "qp.submit_io_raw"),
        Function(
            f"{_C}cmd_io_raw_with_md", "ctrlr qpair cmd buf len md_buf cb_fn cb_arg", "qp.submit_io_raw"
        ),
        Function(
            f"{_C}cmd_iov_raw_with_md",
            f"ctrlr qpair cmd len md_buf cb_fn cb_arg {_SGL}",
            "qp.submit_io_raw, by a copy",
        ),
        Function(f"{_C}io_cmd_raw_no_payload_build", "ctrlr qpair cmd cb_fn cb_arg", "qp.submit_io_raw"),
    ),
    "Completions": (
        Function("spdk_nvme_cpl_is_error", "cpl", "bool(cpl.status)"),
        Function("spdk_nvme_cpl_is_success", "cpl", "not cpl.status"),
        Function("spdk_nvme_cpl_is_pi_error", "cpl", "cpl.status"),
        Function("spdk_nvme_cpl_is_abort_success", "cpl", "cpl.value of abort"),
        Function("spdk_nvme_cpl_get_status_string", "status", "status.text"),
        Function("spdk_nvme_cpl_get_status_string_ext", "status opc", "status.text"),
        Function("spdk_nvme_cpl_get_status_type_string", "status", "status.sct"),
    ),
    "Memory": (
        Function("spdk_zmalloc", "size align unused numa_id flags", "ctrlr.dma_register, at first use"),
        Function("spdk_malloc", "size align unused numa_id flags", "ctrlr.dma_register, at first use"),
        Function("spdk_free", "buf", "DmaRegistration.close"),
        Function("spdk_dma_zmalloc", "size align unused", "ctrlr.dma_register, at first use"),
        Function("spdk_dma_malloc", "size align unused", "ctrlr.dma_register, at first use"),
        Function("spdk_dma_free", "buf", "DmaRegistration.close"),
        Function("spdk_mem_register", "vaddr len", "ctrlr.dma_register, at first use"),
        Function("spdk_mem_unregister", "vaddr len", "DmaRegistration.close"),
    ),
}

FUNCTIONS: tuple[Function, ...] = tuple(row for rows in SECTIONS.values() for row in rows)


def as_markdown() -> str:
    """The table of the documentation."""
    lines = ["| SPDK | parameters | ours |", "|---|---|---|"]
    for section, rows in SECTIONS.items():
        lines.append(f"| **{section}** | | |")
        for row in rows:
            mark = " (blocks)" if row.blocks else ""
            lines.append(f"| `{row.name}`{mark} | `{', '.join(row.parameters)}` | `{row.ours}` |")
    return "\n".join(lines) + "\n"


def differences_as_markdown() -> str:
    """Where the announcement's parameters are others."""
    lines = ["| function | in the announcement | in `nvme.h` |", "|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{', '.join(row.announced)}` | `{', '.join(row.parameters)}` |"
        for row in FUNCTIONS
        if row.announced
    ]
    return "\n".join(lines) + "\n"
