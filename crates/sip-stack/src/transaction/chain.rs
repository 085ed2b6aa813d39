//! Doubly linked lists over one pool of nodes: push, remove and take the first in constant time, without allocation once the pool has grown.

use slab::Slab;

const NIL: u32 = u32::MAX;

/// A node of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(u32);

/// One list; its nodes are in [`Links`].
#[derive(Debug)]
pub(super) struct Chain {
    first: u32,
    last: u32,
    len: usize,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { first: NIL, last: NIL, len: 0 }
    }
}

impl Chain {
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// The pool. A link is valid from `push` to `remove`, with the chain that it was pushed to.
#[derive(Debug)]
pub(super) struct Links<T> {
    nodes: Slab<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    item: T,
    next: u32,
    previous: u32,
}

impl<T: Copy> Links<T> {
    pub(super) fn push(&mut self, chain: &mut Chain, item: T) -> Link {
        let index = super::index_u32(self.nodes.insert(Node { item, next: NIL, previous: chain.last }));
        match chain.last {
            NIL => chain.first = index,
            last => self.nodes[last as usize].next = index,
        }
        chain.last = index;
        chain.len += 1;
        Link(index)
    }

    pub(super) fn remove(&mut self, chain: &mut Chain, link: Link) {
        let Node { next, previous, .. } = self.nodes.remove(link.0 as usize);
        match previous {
            NIL => chain.first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NIL => chain.last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        chain.len -= 1;
    }

    pub(super) fn first(&self, chain: &Chain) -> Option<T> {
        self.nodes.get(chain.first as usize).map(|node| node.item)
    }
}

impl<T> Default for Links<T> {
    fn default() -> Links<T> {
        Links { nodes: Slab::new() }
    }
}
