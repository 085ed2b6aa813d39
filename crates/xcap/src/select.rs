//! Walking a selector in a document (RFC 4825 §6.3). Each step must lead to exactly one element.

use std::ops::Range;

use crate::selector::{Name, NameTest, NodeSelector, Step, Terminal};
use crate::xml::{Attribute, Document, ElementId};

/// The place of a node that was found, in octets of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// An element, from `<` to behind `>`.
    Element(Range<usize>),
    /// An attribute's value, between its quotes.
    Attribute(Range<usize>),
    /// The namespace bindings of the element at this place.
    Namespaces(Range<usize>),
}

impl Document<'_> {
    /// Finds the node that a selector means; `default` is the namespace of names without a prefix. `None` where there is no
    /// such node, or more than one.
    pub fn select(&self, selector: &NodeSelector, default: &str) -> Option<Selected> {
        let element = self.walk(&selector.steps, default)?;
        Some(match &selector.terminal {
            Terminal::Element => Selected::Element(self.span(element)),
            Terminal::Namespaces => Selected::Namespaces(self.span(element)),
            Terminal::Attribute(name) => {
                Selected::Attribute(self.named_attribute(element, name)?.value_span())
            }
        })
    }

    pub(crate) fn walk(&self, steps: &[Step], default: &str) -> Option<ElementId> {
        let mut current = None;
        for step in steps {
            current = Some(self.step(current, step, default)?);
        }
        current
    }

    /// The one element that a step leads to, from an element or from above the root.
    pub(crate) fn step(&self, from: Option<ElementId>, step: &Step, default: &str) -> Option<ElementId> {
        let fits = |element: &ElementId| match &step.attribute {
            None => true,
            Some((name, value)) => {
                self.named_attribute(*element, name).is_some_and(|found| self.value(found) == *value)
            }
        };
        let named = self.named(from, &step.name, default);
        let mut found = match step.position {
            None => named.into_iter().filter(|element| fits(element)).collect::<Vec<_>>(),
            Some(position) => {
                let at = usize::try_from(position).ok()?.checked_sub(1)?;
                named.get(at).copied().filter(|element| fits(element)).into_iter().collect()
            }
        };
        let only = found.pop()?;
        found.is_empty().then_some(only)
    }

    /// Children of a name, or the root if it has it.
    pub(crate) fn named(&self, of: Option<ElementId>, name: &NameTest, default: &str) -> Vec<ElementId> {
        let has_name = |element: &ElementId| match name {
            NameTest::Any => true,
            NameTest::Named(name) => {
                self.expanded_name(*element) == (name.namespace.as_deref().unwrap_or(default), &*name.local)
            }
        };
        match of {
            Some(parent) => self.children(parent).filter(has_name).collect(),
            None => Some(self.root()).into_iter().filter(has_name).collect(),
        }
    }

    pub(crate) fn named_attribute(&self, of: ElementId, name: &Name) -> Option<&Attribute> {
        self.attribute(of, name.namespace.as_deref().unwrap_or_default(), &name.local)
    }
}
