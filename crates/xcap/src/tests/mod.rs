//! Tests of the crate, and the documents that they share.

mod documents;
mod edits;
mod properties;
mod selectors;
mod small;

use crate::*;

/// Text of RFC 4825 §9's examples, with a namespace that is not the application's.
const LISTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:extension">
  <!-- friends -->
  <list name="friends">
    <entry uri="sip:bill@example.com" e:rank="1"><display-name>Bill Doe</display-name></entry>
    <list name="close-friends">
      <entry uri="sip:joe@example.com"/>
      <entry uri="sip:nancy@example.com"/>
      <external anchor="http://xcap.example.org/a"/>
    </list>
    <e:entry uri="sip:other@example.com">text &amp; <![CDATA[<more>]]></e:entry>
  </list>
  <list name='a "quoted"/name'/>
</resource-lists>
"#;
const NAMESPACE: &str = "urn:ietf:params:xml:ns:resource-lists";
const DOCUMENT_TYPE: &str = "application/resource-lists+xml";
const ROOT: &str = "https://xcap.example.com/xcap/";

fn resource(node: &str) -> Resource {
    Resource::parse(&format!("/resource-lists/users/sip:bill@example.com/index{node}")).unwrap()
}

fn anything(_: &Document<'_>) -> Result<(), Conflict> {
    Ok(())
}

fn application<'a>(validate: &'a dyn Fn(&Document<'_>) -> Result<(), Conflict>) -> Application<'a> {
    Application { namespace: NAMESPACE, media_type: DOCUMENT_TYPE, validate }
}

fn get_node(document: &str, node: &str) -> Option<String> {
    get(document, resource(node).node.as_ref(), NAMESPACE).map(|found| found.body.into_owned())
}

fn put_node(document: &str, node: &str, media_type: &str, body: &str) -> Result<Edited, Failure> {
    let body = Body { media_type, octets: body.as_bytes() };
    put(ROOT, &resource(node), Some(document), body, &application(&anything))
}

fn put_element(document: &str, node: &str, body: &str) -> Result<Edited, Failure> {
    put_node(document, node, ELEMENT_TYPE, body)
}

fn put_attribute(document: &str, node: &str, body: &str) -> Result<Edited, Failure> {
    put_node(document, node, ATTRIBUTE_TYPE, body)
}

fn delete_node(document: &str, node: &str) -> Result<Option<String>, Failure> {
    delete(&resource(node), Some(document), &application(&anything))
}
