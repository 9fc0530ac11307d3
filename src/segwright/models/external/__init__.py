"""Networks of other libraries behind our contract. A library loads when the first of its nets is built."""

from segwright.models.card import Entry
from segwright.models.external import smp_nets, torchvision_nets, transformers_nets

ENTRIES: dict[str, Entry] = {**smp_nets.ENTRIES, **torchvision_nets.ENTRIES, **transformers_nets.ENTRIES}
