// Prints what the kernel's headers say of VFIO and iommufd as JSON: constants, sizes of structures, offsets of fields.
//
// It is compiled at set-up against include/uapi of the guest kernel's own source package, so that the driver's table
// can be compared with a header that the driver's build does not need.
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdio.h>

static const char *comma = "";
#define ROW(name, value) (printf("%s\n    \"%s\": %lld", comma, name, (long long)(value)), comma = ",")
#define C(name) ROW(#name, name)
#define S(type) ROW(#type, sizeof(struct type))
#define F(type, field) ROW(#type "." #field, offsetof(struct type, field))

static void constants(void)
{
	C(VFIO_API_VERSION);
	C(VFIO_TYPE1_IOMMU); C(VFIO_TYPE1v2_IOMMU); C(VFIO_DMA_CC_IOMMU); C(VFIO_TYPE1_NESTING_IOMMU);
	C(VFIO_NOIOMMU_IOMMU); C(VFIO_UNMAP_ALL); C(VFIO_UPDATE_VADDR);
	C(VFIO_GET_API_VERSION); C(VFIO_CHECK_EXTENSION); C(VFIO_SET_IOMMU);
	C(VFIO_GROUP_GET_STATUS); C(VFIO_GROUP_SET_CONTAINER); C(VFIO_GROUP_UNSET_CONTAINER); C(VFIO_GROUP_GET_DEVICE_FD);
	C(VFIO_GROUP_FLAGS_VIABLE); C(VFIO_GROUP_FLAGS_CONTAINER_SET);
	C(VFIO_DEVICE_GET_INFO); C(VFIO_DEVICE_GET_REGION_INFO); C(VFIO_DEVICE_GET_IRQ_INFO); C(VFIO_DEVICE_SET_IRQS);
	C(VFIO_DEVICE_RESET); C(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO); C(VFIO_DEVICE_PCI_HOT_RESET);
	C(VFIO_DEVICE_IOEVENTFD); C(VFIO_DEVICE_FEATURE);
	C(VFIO_DEVICE_BIND_IOMMUFD); C(VFIO_DEVICE_ATTACH_IOMMUFD_PT); C(VFIO_DEVICE_DETACH_IOMMUFD_PT);
	C(VFIO_DEVICE_FLAGS_RESET); C(VFIO_DEVICE_FLAGS_PCI); C(VFIO_DEVICE_FLAGS_CAPS);
	C(VFIO_DEVICE_FEATURE_MASK); C(VFIO_DEVICE_FEATURE_GET); C(VFIO_DEVICE_FEATURE_SET); C(VFIO_DEVICE_FEATURE_PROBE);
	C(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN);
	C(VFIO_REGION_INFO_FLAG_READ); C(VFIO_REGION_INFO_FLAG_WRITE); C(VFIO_REGION_INFO_FLAG_MMAP);
	C(VFIO_REGION_INFO_FLAG_CAPS);
	C(VFIO_REGION_INFO_CAP_SPARSE_MMAP); C(VFIO_REGION_INFO_CAP_TYPE); C(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	C(VFIO_IRQ_INFO_EVENTFD); C(VFIO_IRQ_INFO_MASKABLE); C(VFIO_IRQ_INFO_AUTOMASKED); C(VFIO_IRQ_INFO_NORESIZE);
	C(VFIO_IRQ_SET_DATA_NONE); C(VFIO_IRQ_SET_DATA_BOOL); C(VFIO_IRQ_SET_DATA_EVENTFD);
	C(VFIO_IRQ_SET_ACTION_MASK); C(VFIO_IRQ_SET_ACTION_UNMASK); C(VFIO_IRQ_SET_ACTION_TRIGGER);
	C(VFIO_IRQ_SET_DATA_TYPE_MASK); C(VFIO_IRQ_SET_ACTION_TYPE_MASK);
	C(VFIO_PCI_BAR0_REGION_INDEX); C(VFIO_PCI_BAR1_REGION_INDEX); C(VFIO_PCI_BAR2_REGION_INDEX);
	C(VFIO_PCI_BAR3_REGION_INDEX); C(VFIO_PCI_BAR4_REGION_INDEX); C(VFIO_PCI_BAR5_REGION_INDEX);
	C(VFIO_PCI_ROM_REGION_INDEX); C(VFIO_PCI_CONFIG_REGION_INDEX); C(VFIO_PCI_VGA_REGION_INDEX);
	C(VFIO_PCI_NUM_REGIONS);
	C(VFIO_PCI_INTX_IRQ_INDEX); C(VFIO_PCI_MSI_IRQ_INDEX); C(VFIO_PCI_MSIX_IRQ_INDEX); C(VFIO_PCI_ERR_IRQ_INDEX);
	C(VFIO_PCI_REQ_IRQ_INDEX); C(VFIO_PCI_NUM_IRQS);
	C(VFIO_IOMMU_GET_INFO); C(VFIO_IOMMU_MAP_DMA); C(VFIO_IOMMU_UNMAP_DMA); C(VFIO_IOMMU_ENABLE); C(VFIO_IOMMU_DISABLE);
	C(VFIO_IOMMU_INFO_PGSIZES); C(VFIO_IOMMU_INFO_CAPS);
	C(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE); C(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION); C(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	C(VFIO_DMA_MAP_FLAG_READ); C(VFIO_DMA_MAP_FLAG_WRITE); C(VFIO_DMA_MAP_FLAG_VADDR);
	C(VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP); C(VFIO_DMA_UNMAP_FLAG_ALL); C(VFIO_DMA_UNMAP_FLAG_VADDR);
	C(IOMMU_DESTROY); C(IOMMU_IOAS_ALLOC); C(IOMMU_IOAS_ALLOW_IOVAS); C(IOMMU_IOAS_COPY); C(IOMMU_IOAS_IOVA_RANGES);
	C(IOMMU_IOAS_MAP); C(IOMMU_IOAS_UNMAP); C(IOMMU_OPTION); C(IOMMU_VFIO_IOAS); C(IOMMU_HWPT_ALLOC);
	C(IOMMU_GET_HW_INFO);
	C(IOMMU_IOAS_MAP_FIXED_IOVA); C(IOMMU_IOAS_MAP_WRITEABLE); C(IOMMU_IOAS_MAP_READABLE);
	C(IOMMU_OPTION_RLIMIT_MODE); C(IOMMU_OPTION_HUGE_PAGES); C(IOMMU_OPTION_OP_SET); C(IOMMU_OPTION_OP_GET);
	C(IOMMU_VFIO_IOAS_GET); C(IOMMU_VFIO_IOAS_SET); C(IOMMU_VFIO_IOAS_CLEAR);
}

static void sizes(void)
{
	S(vfio_info_cap_header); S(vfio_group_status); S(vfio_device_info); S(vfio_region_info);
	S(vfio_region_sparse_mmap_area); S(vfio_region_info_cap_sparse_mmap); S(vfio_irq_info); S(vfio_irq_set);
	S(vfio_pci_dependent_device); S(vfio_pci_hot_reset_info); S(vfio_pci_hot_reset); S(vfio_device_feature);
	S(vfio_device_bind_iommufd); S(vfio_device_attach_iommufd_pt); S(vfio_device_detach_iommufd_pt);
	S(vfio_iommu_type1_info); S(vfio_iova_range); S(vfio_iommu_type1_info_cap_iova_range);
	S(vfio_iommu_type1_info_dma_avail); S(vfio_iommu_type1_dma_map); S(vfio_iommu_type1_dma_unmap);
	S(iommu_destroy); S(iommu_ioas_alloc); S(iommu_iova_range); S(iommu_ioas_iova_ranges); S(iommu_ioas_allow_iovas);
	S(iommu_ioas_map); S(iommu_ioas_copy); S(iommu_ioas_unmap); S(iommu_option); S(iommu_vfio_ioas);
}

static void vfio_offsets(void)
{
	F(vfio_info_cap_header, id); F(vfio_info_cap_header, version); F(vfio_info_cap_header, next);
	F(vfio_group_status, argsz); F(vfio_group_status, flags);
	F(vfio_device_info, argsz); F(vfio_device_info, flags); F(vfio_device_info, num_regions);
	F(vfio_device_info, num_irqs); F(vfio_device_info, cap_offset); F(vfio_device_info, pad);
	F(vfio_region_info, argsz); F(vfio_region_info, flags); F(vfio_region_info, index);
	F(vfio_region_info, cap_offset); F(vfio_region_info, size); F(vfio_region_info, offset);
	F(vfio_region_sparse_mmap_area, offset); F(vfio_region_sparse_mmap_area, size);
	F(vfio_region_info_cap_sparse_mmap, header); F(vfio_region_info_cap_sparse_mmap, nr_areas);
	F(vfio_region_info_cap_sparse_mmap, reserved); F(vfio_region_info_cap_sparse_mmap, areas);
	F(vfio_irq_info, argsz); F(vfio_irq_info, flags); F(vfio_irq_info, index); F(vfio_irq_info, count);
	F(vfio_irq_set, argsz); F(vfio_irq_set, flags); F(vfio_irq_set, index); F(vfio_irq_set, start);
	F(vfio_irq_set, count); F(vfio_irq_set, data);
	F(vfio_device_feature, argsz); F(vfio_device_feature, flags); F(vfio_device_feature, data);
	F(vfio_device_bind_iommufd, argsz); F(vfio_device_bind_iommufd, flags);
	F(vfio_device_bind_iommufd, iommufd); F(vfio_device_bind_iommufd, out_devid);
	F(vfio_device_attach_iommufd_pt, argsz); F(vfio_device_attach_iommufd_pt, flags);
	F(vfio_device_attach_iommufd_pt, pt_id);
	F(vfio_device_detach_iommufd_pt, argsz); F(vfio_device_detach_iommufd_pt, flags);
	F(vfio_iommu_type1_info, argsz); F(vfio_iommu_type1_info, flags); F(vfio_iommu_type1_info, iova_pgsizes);
	F(vfio_iommu_type1_info, cap_offset); F(vfio_iommu_type1_info, pad);
	F(vfio_iova_range, start); F(vfio_iova_range, end);
	F(vfio_iommu_type1_info_cap_iova_range, header); F(vfio_iommu_type1_info_cap_iova_range, nr_iovas);
	F(vfio_iommu_type1_info_cap_iova_range, reserved); F(vfio_iommu_type1_info_cap_iova_range, iova_ranges);
	F(vfio_iommu_type1_info_dma_avail, header); F(vfio_iommu_type1_info_dma_avail, avail);
	F(vfio_iommu_type1_dma_map, argsz); F(vfio_iommu_type1_dma_map, flags); F(vfio_iommu_type1_dma_map, vaddr);
	F(vfio_iommu_type1_dma_map, iova); F(vfio_iommu_type1_dma_map, size);
	F(vfio_iommu_type1_dma_unmap, argsz); F(vfio_iommu_type1_dma_unmap, flags);
	F(vfio_iommu_type1_dma_unmap, iova); F(vfio_iommu_type1_dma_unmap, size); F(vfio_iommu_type1_dma_unmap, data);
}

static void iommufd_offsets(void)
{
	F(iommu_destroy, size); F(iommu_destroy, id);
	F(iommu_ioas_alloc, size); F(iommu_ioas_alloc, flags); F(iommu_ioas_alloc, out_ioas_id);
	F(iommu_iova_range, start); F(iommu_iova_range, last);
	F(iommu_ioas_iova_ranges, size); F(iommu_ioas_iova_ranges, ioas_id); F(iommu_ioas_iova_ranges, num_iovas);
	F(iommu_ioas_iova_ranges, __reserved); F(iommu_ioas_iova_ranges, allowed_iovas);
	F(iommu_ioas_iova_ranges, out_iova_alignment);
	F(iommu_ioas_allow_iovas, size); F(iommu_ioas_allow_iovas, ioas_id); F(iommu_ioas_allow_iovas, num_iovas);
	F(iommu_ioas_allow_iovas, __reserved); F(iommu_ioas_allow_iovas, allowed_iovas);
	F(iommu_ioas_map, size); F(iommu_ioas_map, flags); F(iommu_ioas_map, ioas_id); F(iommu_ioas_map, __reserved);
	F(iommu_ioas_map, user_va); F(iommu_ioas_map, length); F(iommu_ioas_map, iova);
	F(iommu_ioas_copy, size); F(iommu_ioas_copy, flags); F(iommu_ioas_copy, dst_ioas_id);
	F(iommu_ioas_copy, src_ioas_id); F(iommu_ioas_copy, length); F(iommu_ioas_copy, dst_iova);
	F(iommu_ioas_copy, src_iova);
	F(iommu_ioas_unmap, size); F(iommu_ioas_unmap, ioas_id); F(iommu_ioas_unmap, iova); F(iommu_ioas_unmap, length);
	F(iommu_option, size); F(iommu_option, option_id); F(iommu_option, op); F(iommu_option, __reserved);
	F(iommu_option, object_id); F(iommu_option, val64);
	F(iommu_vfio_ioas, size); F(iommu_vfio_ioas, ioas_id); F(iommu_vfio_ioas, op); F(iommu_vfio_ioas, __reserved);
}

static void section(const char *name, void (*print)(void), const char *after)
{
	printf("  \"%s\": {", name);
	comma = "";
	print();
	printf("\n  }%s\n", after);
}

static void offsets(void)
{
	vfio_offsets();
	iommufd_offsets();
}

int main(void)
{
	printf("{\n");
	section("constants", constants, ",");
	section("sizes", sizes, ",");
	section("offsets", offsets, "");
	printf("}\n");
	return 0;
}
