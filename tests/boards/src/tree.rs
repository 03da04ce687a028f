// SPDX-License-Identifier: GPL-2.0

//! A flattened device tree (Devicetree Specification 0.4, chapter 5), and the properties of its nodes
//! that tell addresses and interrupts (chapter 2).

use std::collections::BTreeMap;

/// The tokens of the structure block.
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The first word of each tree.
const MAGIC: u32 = 0xd00d_feed;

/// A tree. Its nodes have numbers, in the order of the file; the root is number 0.
pub struct Tree(Vec<Node>);

/// A node, without its name: nothing here depends on that.
#[derive(Default)]
struct Node {
    parent: Option<usize>,
    properties: BTreeMap<String, Vec<u8>>,
}

/// The value of a property of the bus that a node is on, if the bus does not have it.
const ADDRESS_CELLS: u32 = 2;
const SIZE_CELLS: u32 = 1;

fn word(bytes: &[u8], offset: usize) -> Result<u32, String> {
    let bytes = bytes.get(offset..offset + 4);
    let bytes = bytes.ok_or_else(|| format!("nothing at {offset:#x}"))?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn string(bytes: &[u8], offset: usize) -> Result<String, String> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == 0);
    let end = end.ok_or_else(|| format!("no string at {offset:#x}"))?;
    String::from_utf8(rest[..end].into()).map_err(|e| e.to_string())
}

/// The number that some cells are.
fn number(cells: &[u32]) -> u64 {
    cells
        .iter()
        .fold(0, |number, &cell| (number << 32) | u64::from(cell))
}

impl Tree {
    /// Reads a file that the device tree compiler has made.
    ///
    /// # Errors
    ///
    /// A sentence, if it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if word(bytes, 0)? != MAGIC {
            return Err("not a device tree".into());
        }
        let strings = word(bytes, 12)? as usize;
        let mut at = word(bytes, 8)? as usize;
        let mut nodes: Vec<Node> = Vec::new();
        let mut open = Vec::new();
        loop {
            let token = word(bytes, at)?;
            at += 4;
            match token {
                BEGIN_NODE => {
                    at = (at + string(bytes, at)?.len() + 1).next_multiple_of(4);
                    nodes.push(Node {
                        parent: open.last().copied(),
                        ..Node::default()
                    });
                    open.push(nodes.len() - 1);
                }
                END_NODE => {
                    open.pop();
                }
                PROP => {
                    let size = word(bytes, at)? as usize;
                    let name = string(bytes, strings + word(bytes, at + 4)? as usize)?;
                    let value = bytes.get(at + 8..at + 8 + size);
                    let value = value.ok_or_else(|| format!("{name} is cut off"))?.into();
                    let &node = open.last().ok_or("a property outside of all nodes")?;
                    nodes[node].properties.insert(name, value);
                    at = (at + 8 + size).next_multiple_of(4);
                }
                NOP => {}
                END => return Ok(Self(nodes)),
                _ => return Err(format!("token {token} at {at:#x}")),
            }
        }
    }

    /// The value of a property as a list of strings. It is empty without the property.
    #[must_use]
    pub fn strings(&self, node: usize, name: &str) -> Vec<String> {
        let value = self.0[node].properties.get(name);
        let value = value.map(Vec::as_slice).unwrap_or_default();
        let strings = value.split(|&byte| byte == 0).filter(|s| !s.is_empty());
        strings
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    /// The value of a property as cells, or nothing without the property.
    #[must_use]
    pub fn cells(&self, node: usize, name: &str) -> Option<Vec<u32>> {
        let value = self.0[node].properties.get(name)?;
        let cells = value.chunks_exact(4);
        Some(
            cells
                .map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
                .collect(),
        )
    }

    /// The nodes that are compatible with `name`, in the order of the file.
    pub fn compatible<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..self.0.len()).filter(move |&node| {
            let names = self.strings(node, "compatible");
            names.iter().any(|other| other == name)
        })
    }

    /// The nodes of the CPUs.
    pub fn cpus(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len()).filter(|&node| self.strings(node, "device_type") == ["cpu"])
    }

    fn cell_or(&self, node: usize, name: &str, default: u32) -> usize {
        let cells = self.cells(node, name).unwrap_or_default();
        cells.first().copied().unwrap_or(default) as usize
    }

    /// An address on the bus `bus`, as the CPUs see it.
    fn translated(&self, bus: usize, address: u64) -> Option<u64> {
        let Some(parent) = self.0[bus].parent else {
            return Some(address);
        };
        let ranges = self.cells(bus, "ranges")?;
        if ranges.is_empty() {
            return self.translated(parent, address);
        }
        let ours = self.cell_or(bus, "#address-cells", ADDRESS_CELLS);
        let theirs = self.cell_or(parent, "#address-cells", ADDRESS_CELLS);
        let sizes = self.cell_or(bus, "#size-cells", SIZE_CELLS);
        ranges
            .chunks_exact(ours + theirs + sizes)
            .find_map(|range| {
                let (start, rest) = range.split_at(ours);
                let (there, size) = rest.split_at(theirs);
                let offset = address.checked_sub(number(start))?;
                (offset < number(size)).then(|| self.translated(parent, number(there) + offset))?
            })
    }

    /// Register window `index` of a node: its address, as the CPUs see it, and its size.
    #[must_use]
    pub fn registers(&self, node: usize, index: usize) -> Option<(u64, u64)> {
        let bus = self.0[node].parent?;
        let addresses = self.cell_or(bus, "#address-cells", ADDRESS_CELLS);
        let sizes = self.cell_or(bus, "#size-cells", SIZE_CELLS);
        let cells = self.cells(node, "reg")?;
        let window = cells.chunks_exact(addresses + sizes).nth(index)?;
        let (address, size) = window.split_at(addresses);
        Some((self.translated(bus, number(address))?, number(size)))
    }

    /// Interrupt `index` of a node: the cells that say which it is, and the controller.
    #[must_use]
    pub fn interrupt(&self, node: usize, index: usize) -> Option<(Vec<u32>, usize)> {
        let mut place = Some(node);
        let parent = loop {
            let here = place?;
            if let Some(cells) = self.cells(here, "interrupt-parent") {
                break *cells.first()?;
            }
            place = self.0[here].parent;
        };
        let is_parent = |&other: &usize| self.cells(other, "phandle") == Some(vec![parent]);
        let controller = (0..self.0.len()).find(is_parent)?;
        let size = self.cell_or(controller, "#interrupt-cells", 1);
        let cells = self.cells(node, "interrupts")?;
        let cells = cells.chunks_exact(size).nth(index)?;
        Some((cells.into(), controller))
    }
}
