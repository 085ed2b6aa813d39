use std::collections::BTreeSet;

use replicator::Field;

use crate::config::directory_attribute_keys;

#[test]
fn the_configuration_names_every_field_of_the_replicator() {
    let keys: BTreeSet<&str> = directory_attribute_keys().collect();
    let fields: BTreeSet<&str> = Field::all().map(Field::name).collect();
    assert_eq!(keys, fields);
}
