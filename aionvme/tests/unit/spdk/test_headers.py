"""SPDK's constants and structures against SPDK's own headers, of its release v25.01.

What stands here was taken from `include/spdk/nvme_spec.h`, `nvme.h` and `env.h` there, and from nothing of ours.
"""

from __future__ import annotations

import struct

import attrs
import pytest

from aionvme import spdk
from aionvme.spdk import constants

NVME_SPEC_H = """
GLOBAL_NS_TAG 0xFFFFFFFF
QPRIO_URGENT 0 QPRIO_HIGH 1 QPRIO_MEDIUM 2 QPRIO_LOW 3
CC_AMS_RR 0 CC_AMS_WRR 1 CC_AMS_VS 7
SCT_GENERIC 0 SCT_COMMAND_SPECIFIC 1 SCT_MEDIA_ERROR 2 SCT_PATH 3 SCT_VENDOR_SPECIFIC 7
SC_SUCCESS 0x00 SC_INVALID_OPCODE 0x01 SC_INVALID_FIELD 0x02 SC_ABORTED_BY_REQUEST 0x07 SC_ABORTED_SQ_DELETION 0x08
SC_ABORTED_FAILED_FUSED 0x09 SC_ABORTED_MISSING_FUSED 0x0a SC_INVALID_NAMESPACE_OR_FORMAT 0x0b
SC_LBA_OUT_OF_RANGE 0x80 SC_RESERVATION_CONFLICT 0x83
SC_WRITE_FAULTS 0x80 SC_UNRECOVERED_READ_ERROR 0x81 SC_GUARD_CHECK_ERROR 0x82 SC_APPLICATION_TAG_CHECK_ERROR 0x83
SC_REFERENCE_TAG_CHECK_ERROR 0x84 SC_COMPARE_FAILURE 0x85
OPC_DELETE_IO_SQ 0x00 OPC_CREATE_IO_SQ 0x01 OPC_GET_LOG_PAGE 0x02 OPC_DELETE_IO_CQ 0x04 OPC_CREATE_IO_CQ 0x05
OPC_IDENTIFY 0x06 OPC_ABORT 0x08 OPC_SET_FEATURES 0x09 OPC_GET_FEATURES 0x0a OPC_ASYNC_EVENT_REQUEST 0x0c
OPC_NS_MANAGEMENT 0x0d OPC_NS_ATTACHMENT 0x15 OPC_KEEP_ALIVE 0x18 OPC_FORMAT_NVM 0x80
OPC_FLUSH 0x00 OPC_WRITE 0x01 OPC_READ 0x02 OPC_WRITE_UNCORRECTABLE 0x04 OPC_COMPARE 0x05 OPC_WRITE_ZEROES 0x08
OPC_DATASET_MANAGEMENT 0x09 OPC_VERIFY 0x0c OPC_RESERVATION_REGISTER 0x0d OPC_RESERVATION_REPORT 0x0e
OPC_RESERVATION_ACQUIRE 0x11 OPC_RESERVATION_RELEASE 0x15 OPC_COPY 0x19
FEAT_ARBITRATION 0x01 FEAT_POWER_MANAGEMENT 0x02 FEAT_LBA_RANGE_TYPE 0x03 FEAT_TEMPERATURE_THRESHOLD 0x04
FEAT_ERROR_RECOVERY 0x05 FEAT_VOLATILE_WRITE_CACHE 0x06 FEAT_NUMBER_OF_QUEUES 0x07 FEAT_INTERRUPT_COALESCING 0x08
FEAT_INTERRUPT_VECTOR_CONFIGURATION 0x09 FEAT_WRITE_ATOMICITY 0x0A FEAT_ASYNC_EVENT_CONFIGURATION 0x0B
FEAT_AUTONOMOUS_POWER_STATE_TRANSITION 0x0C FEAT_HOST_MEM_BUFFER 0x0D FEAT_TIMESTAMP 0x0E FEAT_KEEP_ALIVE_TIMER 0x0F
FEAT_HOST_IDENTIFIER 0x81 FEAT_HOST_RESERVE_MASK 0x82 FEAT_HOST_RESERVE_PERSIST 0x83
DSM_ATTR_INTEGRAL_READ 0x1 DSM_ATTR_INTEGRAL_WRITE 0x2 DSM_ATTR_DEALLOCATE 0x4
RESERVE_WRITE_EXCLUSIVE 0x1 RESERVE_EXCLUSIVE_ACCESS 0x2 RESERVE_WRITE_EXCLUSIVE_REG_ONLY 0x3
RESERVE_EXCLUSIVE_ACCESS_REG_ONLY 0x4 RESERVE_WRITE_EXCLUSIVE_ALL_REGS 0x5 RESERVE_EXCLUSIVE_ACCESS_ALL_REGS 0x6
RESERVE_ACQUIRE 0x0 RESERVE_PREEMPT 0x1 RESERVE_PREEMPT_ABORT 0x2
RESERVE_PTPL_NO_CHANGES 0x0 RESERVE_PTPL_CLEAR_POWER_ON 0x2 RESERVE_PTPL_PERSIST_POWER_LOSS 0x3
RESERVE_REGISTER_KEY 0x0 RESERVE_UNREGISTER_KEY 0x1 RESERVE_REPLACE_KEY 0x2 RESERVE_RELEASE 0x0 RESERVE_CLEAR 0x1
LOG_SUPPORTED_LOG_PAGES 0x00 LOG_ERROR 0x01 LOG_HEALTH_INFORMATION 0x02 LOG_FIRMWARE_SLOT 0x03
LOG_CHANGED_NS_LIST 0x04 LOG_COMMAND_EFFECTS_LOG 0x05 LOG_DEVICE_SELF_TEST 0x06 LOG_TELEMETRY_HOST_INITIATED 0x07
LOG_TELEMETRY_CTRLR_INITIATED 0x08 LOG_ENDURANCE_GROUP_INFORMATION 0x09 LOG_ASYMMETRIC_NAMESPACE_ACCESS 0x0C
LOG_PERSISTENT_EVENT_LOG 0x0D LOG_FEATURE_IDS_EFFECTS 0x12 LOG_RESERVATION_NOTIFICATION 0x80 LOG_SANITIZE_STATUS 0x81
FMT_NVM_SES_NO_SECURE_ERASE 0x0 FMT_NVM_SES_USER_DATA_ERASE 0x1 FMT_NVM_SES_CRYPTO_ERASE 0x2
FMT_NVM_PROTECTION_AT_TAIL 0x0 FMT_NVM_PROTECTION_AT_HEAD 0x1 FMT_NVM_PROTECTION_DISABLE 0x0
FMT_NVM_PROTECTION_TYPE1 0x1 FMT_NVM_PROTECTION_TYPE2 0x2 FMT_NVM_PROTECTION_TYPE3 0x3
FMT_NVM_METADATA_TRANSFER_AS_BUFFER 0x0 FMT_NVM_METADATA_TRANSFER_AS_LBA 0x1
IO_FLAGS_FUSE_FIRST 0x1 IO_FLAGS_FUSE_SECOND 0x2 IO_FLAGS_FUSE_MASK 0x3
IO_FLAGS_STREAMS_DIRECTIVE 0x100000 IO_FLAGS_DATA_PLACEMENT_DIRECTIVE 0x200000
IO_FLAGS_PRCHK_REFTAG 0x4000000 IO_FLAGS_PRCHK_APPTAG 0x8000000 IO_FLAGS_PRCHK_GUARD 0x10000000
IO_FLAGS_PRACT 0x20000000 IO_FLAGS_FORCE_UNIT_ACCESS 0x40000000 IO_FLAGS_LIMITED_RETRY 0x80000000
IO_FLAGS_VALID_MASK 0xFFFF0003 IO_FLAGS_CDW12_MASK 0xFFFF0000
"""
NVME_H = """
TRANSPORT_PCIE 256 TRANSPORT_VFIOUSER 1024
NS_DEALLOCATE_SUPPORTED 0x1 NS_FLUSH_SUPPORTED 0x2 NS_RESERVATION_SUPPORTED 0x4 NS_WRITE_ZEROES_SUPPORTED 0x8
NS_DPS_PI_SUPPORTED 0x10 NS_EXTENDED_LBA_SUPPORTED 0x20 NS_WRITE_UNCORRECTABLE_SUPPORTED 0x40
NS_COMPARE_SUPPORTED 0x80
"""
ENV_H = "ENV_NUMA_ID_ANY -1 ENV_SOCKET_ID_ANY -1 MALLOC_DMA 0x01 MALLOC_SHARE 0x02"

# Fields, unions by the names of their members. "+": the end of those that are ours.
STRUCTURES = {
    "spdk_nvme_transport_id": "trstring trtype adrfam traddr trsvcid subnqn priority",
    "spdk_nvme_ctrlr_opts": (
        "num_io_queues use_cmb_sqs no_shn_notification arb_mechanism arbitration_burst low_priority_weight "
        "medium_priority_weight high_priority_weight keep_alive_timeout_ms transport_retry_count io_queue_size hostnqn "
        "io_queue_requests src_addr src_svcid host_id extended_host_id command_set admin_timeout_ms header_digest "
        "data_digest disable_error_logging transport_ack_timeout admin_queue_size opts_size fabrics_connect_timeout_us "
        "disable_read_ana_log_page disable_read_changed_ns_list_log_page psk transport_tos tls_psk dhchap_key "
        "dhchap_ctrlr_key dhchap_digests dhchap_dhgroups"
    ),
    "spdk_nvme_io_qpair_opts": (
        "qprio io_queue_size io_queue_requests delay_cmd_submit delay_pcie_doorbell sq cq create_only async_mode "
        "disable_pcie_sgl_merge"
    ),
    "spdk_nvme_ns_cmd_ext_io_opts": (
        "size memory_domain memory_domain_ctx io_flags metadata apptag_mask apptag cdw13 accel_sequence"
    ),
    "spdk_nvme_dsm_range": "attributes length starting_lba",
    "spdk_nvme_scc_source_range": "slba nlb eilbrt elbat elbatm",
    "spdk_nvme_reservation_register_data": "crkey nrkey",
    "spdk_nvme_reservation_acquire_data": "crkey prkey",
    "spdk_nvme_reservation_key_data": "crkey",
    "spdk_nvme_ctrlr_list": "ctrlr_count ctrlr_list",
    "spdk_nvme_format": "lbaf ms pi pil ses reserved",
    "spdk_nvme_cmd": (
        "opc fuse psdt cid nsid rsvd2 rsvd3 mptr prp1 prp2 cdw10 cdw11 cdw12 cdw13 cdw14 cdw15"
    ),
}
# What has another name here, or is ours alone; the documentation says so.
OURS = {
    "spdk_nvme_transport_id": {"pci_dev"},
    "spdk_nvme_ctrlr_opts": {"io_timeout_ms"},
    "spdk_nvme_cmd": {"cdw2", "cdw3"},
}


def _table(text: str, prefix: str) -> dict[str, int]:
    words = text.split()
    return {prefix + name: int(value, 0) for name, value in zip(words[::2], words[1::2], strict=True)}


VALUES = _table(NVME_SPEC_H, "SPDK_NVME_") | _table(NVME_H, "SPDK_NVME_") | _table(ENV_H, "SPDK_")


@pytest.mark.parametrize("name", sorted(VALUES))
def test_constant(name: str) -> None:
    """A constant has the value of SPDK's header, under `aionvme.spdk` as well."""
    assert getattr(spdk, name) == VALUES[name]


def test_every_constant_is_here() -> None:
    """Nothing has one of SPDK's names for a constant that is not in this table."""
    assert {name for name in dir(constants) if name.startswith("SPDK_")} == VALUES.keys()
    assert set(constants.__all__) == VALUES.keys()


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_fields(name: str) -> None:
    """A structure has SPDK's fields or fewer, and what is ours alone is known."""
    kind = getattr(spdk, name)
    fields = {field.name for field in attrs.fields(kind)}
    assert fields - set(STRUCTURES[name].split()) == OURS.get(name, set())


def test_every_structure_is_here() -> None:
    """Nothing has one of SPDK's names for a structure that is not in this table."""
    kinds = {name for name in spdk.__all__ if attrs.has(getattr(spdk, name))}
    assert kinds == STRUCTURES.keys()


def test_layouts() -> None:
    """Structures that a controller reads are SPDK's bytes, whose sizes the header asserts."""
    one = spdk.spdk_nvme_dsm_range(attributes=0x01020304, length=5, starting_lba=0x0807060504030201)
    assert bytes(one) == struct.pack("<IIQ", 0x01020304, 5, 0x0807060504030201)
    source = spdk.spdk_nvme_scc_source_range(slba=7, nlb=8, eilbrt=0x11223344, elbat=0x5566, elbatm=0x7788)
    assert bytes(source) == struct.pack("<8xQH6xIHH", 7, 8, 0x11223344, 0x5566, 0x7788)
    assert (len(bytes(one)), len(bytes(source))) == (16, 32)
    assert len(bytes(spdk.spdk_nvme_cmd())) == 64
    assert len(bytes(spdk.spdk_nvme_reservation_register_data())) == 16
    assert len(bytes(spdk.spdk_nvme_reservation_acquire_data())) == 16
    assert len(bytes(spdk.spdk_nvme_reservation_key_data())) == 8
    assert len(bytes(spdk.spdk_nvme_ctrlr_list())) == 4096
