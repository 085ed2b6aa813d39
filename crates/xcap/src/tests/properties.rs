//! Whatever comes in: an edit does the same as a tree that is changed and written anew.

use proptest::prelude::*;

use super::*;

/// The simplest thing that can be edited: a tree of names, with one attribute each.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    name: char,
    mark: u8,
    children: Vec<Node>,
}

impl Node {
    /// Written with some variety that a parser must see through.
    fn write(&self, text: &mut String) {
        let Node { name, mark, children } = self;
        match (children.is_empty(), mark % 3) {
            (true, 0) => text.push_str(&format!("<{name} m='{mark}'/>")),
            (true, _) => text.push_str(&format!("<{name} m=\"{mark}\" ></{name} >")),
            (false, style) => {
                text.push_str(&format!("<{name}\n m=\"{mark}\">"));
                for child in children {
                    text.push_str(["", " <!-- </a> --> ", "x&gt;<![CDATA[<a>]]>"][usize::from(style)]);
                    child.write(text);
                }
                text.push_str(&format!("</{name}>"));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn read(document: &str) -> Node {
        let document = Document::parse(document).unwrap();
        fn read(document: &Document<'_>, id: crate::xml::ElementId) -> Node {
            let mark = document.attribute(id, "", "m").map(|m| document.value(m).parse().unwrap());
            Node {
                name: document.name(id).chars().next().unwrap(),
                mark: mark.unwrap(),
                children: document.children(id).map(|child| read(document, child)).collect(),
            }
        }
        read(&document, document.root())
    }

    fn at(&mut self, path: &[usize]) -> &mut Node {
        path.iter().fold(self, |node, at| &mut node.children[*at])
    }
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = ("[abc]", 0u8..6).prop_map(|(name, mark)| Node {
        name: name.chars().next().unwrap(),
        mark,
        children: Vec::new(),
    });
    leaf.prop_recursive(4, 40, 5, |inner| {
        ("[abc]", 0u8..6, prop::collection::vec(inner, 0..5)).prop_map(|(name, mark, children)| Node {
            name: name.chars().next().unwrap(),
            mark,
            children,
        })
    })
}

/// A walk to some node of a tree, and the selector for it by one of the ways to say it.
fn walk(tree: &Node, choices: &[(prop::sample::Index, u8)]) -> (Vec<usize>, String) {
    let (mut path, mut selector, mut at) = (Vec::new(), "*".to_owned(), tree);
    for (index, style) in choices {
        if at.children.is_empty() {
            break;
        }
        let place = index.index(at.children.len());
        let child = &at.children[place];
        let same_name = at.children[..place].iter().filter(|c| c.name == child.name).count() + 1;
        selector.push_str(&match style % 3 {
            0 => format!("/*[{}]", place + 1),
            1 => format!("/{}[{same_name}]", child.name),
            _ => format!("/{}[{same_name}][@m='{}']", child.name, child.mark),
        });
        path.push(place);
        at = child;
    }
    (path, selector)
}

fn choices() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)
}

fn edit(tree: &Node, selector: &str, body: &Node) -> Result<Edited, Failure> {
    let resource = Resource::parse(&format!("/a/global/b/~~/{selector}")).unwrap();
    let text = body.text();
    let body = Body { media_type: ELEMENT_TYPE, octets: text.as_bytes() };
    put(ROOT, &resource, Some(&tree.text()), body, &Application { namespace: "", ..application(&anything) })
}

proptest! {
    #[test]
    fn replacing_is_what_a_tree_does(tree in node(), choices in choices(), body in node()) {
        let (path, selector) = walk(&tree, &choices);
        let mut expected = tree.clone();
        *expected.at(&path) = body.clone();
        // By position among all, anything may take the place.
        let fits = selector.rsplit('/').next().unwrap().starts_with('*');
        match edit(&tree, &selector, &body) {
            Ok(edited) => {
                prop_assert!(!edited.is_new);
                prop_assert_eq!(Node::read(&edited.document), expected);
            }
            Err(failure) => {
                prop_assert!(!fits, "{}", failure);
                prop_assert_eq!(failure.status(), 409);
            }
        }
    }

    #[test]
    fn inserting_is_what_a_tree_does(tree in node(), choices in choices(), body in node(), place in any::<prop::sample::Index>()) {
        let (path, selector) = walk(&tree, &choices);
        let mut expected = tree.clone();
        let parent = expected.at(&path);
        // A mark that nobody has: something new, at a place among its name's or behind them.
        let body = Node { mark: 9, ..body };
        let same: Vec<usize> = (0..parent.children.len()).filter(|at| parent.children[*at].name == body.name).collect();
        let ordinal = place.index(same.len() + 1);
        let at = same.get(ordinal).copied().or(same.last().map(|last| last + 1)).unwrap_or(parent.children.len());
        parent.children.insert(at, body.clone());
        let edited = edit(&tree, &format!("{selector}/{}[{}][@m='9']", body.name, ordinal + 1), &body).unwrap();
        prop_assert!(edited.is_new);
        prop_assert_eq!(Node::read(&edited.document), expected);
    }

    #[test]
    fn removing_is_what_a_tree_does_and_touches_nothing_else(tree in node(), choices in choices()) {
        let (mut path, selector) = walk(&tree, &choices);
        let Some(last) = path.pop() else { return Ok(()) };
        let mut expected = tree.clone();
        expected.at(&path).children.remove(last);
        let resource = Resource::parse(&format!("/a/global/b/~~/{selector}")).unwrap();
        let text = tree.text();
        match delete(&resource, Some(&text), &Application { namespace: "", ..application(&anything) }) {
            Ok(edited) => {
                let edited = edited.unwrap();
                prop_assert_eq!(Node::read(&edited), expected);
                let gone = text.len() - edited.len();
                let kept = text.bytes().zip(edited.bytes()).take_while(|(a, b)| a == b).count();
                // Where what goes begins as what follows, any of the two places is right.
                let is_a_cut = (0..=kept).any(|at| text[..at] == edited[..at] && text[at + gone..] == edited[at..]);
                prop_assert!(is_a_cut);
            }
            // Another node would stand there.
            Err(failure) => prop_assert_eq!(failure, Failure::Conflict(Conflict::CannotDelete("the same URI would lead to another node"))),
        }
    }

    #[test]
    fn anything_may_come(target in "\\PC{0,60}", text in "\\PC{0,200}", query in "\\PC{0,40}") {
        let _ = Resource::parse(&target);
        let _ = NodeSelector::parse(&target, &query);
        let _ = Document::parse(&text);
    }

    #[test]
    fn anything_like_markup_may_come(
        text in "([<>/='\"&;:a-c \\[\\]!?-]|<a>|</a>|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|xmlns|é){0,60}",
        selector in "([a-c/\\[\\]@='\"*:0-9%]|namespace::\\*|&amp;|%22){0,30}",
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let Ok(node) = NodeSelector::parse(&selector, "xmlns(a=b)") else { return Ok(()) };
        let _ = get(&text, Some(&node), "");
        let resource = Resource { node: Some(node), ..Resource::parse("/a/global/b").unwrap() };
        for media_type in [ELEMENT_TYPE, ATTRIBUTE_TYPE] {
            let application = Application { namespace: "", ..application(&anything) };
            for octets in [&body[..], text.as_bytes()] {
                if let Ok(edited) = put(ROOT, &resource, Some(LISTS), Body { media_type, octets }, &application) {
                    prop_assert!(Document::parse(&edited.document).is_ok());
                    prop_assert!(get(&edited.document, resource.node.as_ref(), "").is_some());
                }
            }
        }
    }
}
