from aionvme.pci.dma import DmaSpace

def describe(
    space: DmaSpace, address: int, nbytes: int, page_size: int, capacity: int, list_iova: int
) -> tuple[int, int, int, list[int]]: ...
