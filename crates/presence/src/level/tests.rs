//! Nobody sees above their level.

use proptest::prelude::*;

use super::{Level, View};
use crate::testing::{card, device, manual};
use crate::{Activities, Availability, Class, Inputs, Manual, State, compose, pidf};

fn state() -> impl Strategy<Value = State> {
    (prop::collection::vec(device(), 0..3), manual(), 0usize..2, 0u64..100).prop_map(
        |(devices, manual, calls, now_unix_ms)| {
            let devices: Vec<_> = devices.iter().collect();
            compose(&Inputs { devices: &devices, manual: &manual, calls, now_unix_ms })
        },
    )
}

#[test]
fn levels_have_names_and_an_order() {
    assert!(Level::ALL.is_sorted());
    for level in Level::ALL {
        assert_eq!(Level::from_name(level.name()), Some(*level));
        assert_eq!(level.may_interrupt(), matches!(level, Level::Team | Level::Personal));
    }
    assert_eq!(Level::from_name("nonsense"), None);
}

proptest! {
    #[test]
    fn each_field_is_for_its_level(state in state(), card in card()) {
        for level in Level::ALL.iter().copied() {
            let view = View::of(&state, &card, level);
            prop_assert_eq!(&view.display_name, &card.display_name, "the name is for everybody");
            // (may it be seen, is it what is there, is it nothing)
            let fields = [
                (Level::Company, view.activities == state.activities, view.activities.is_empty()),
                (Level::Company, view.idle_since_unix_ms == state.idle_since_unix_ms, view.idle_since_unix_ms.is_none()),
                (Level::Company, view.note == state.note, view.note.is_none()),
                (Level::Company, view.card == card.card || !state.is_open(), view.card.is_none()),
                (Level::Company, view.homepage == card.homepage || !state.is_open(), view.homepage.is_none()),
                (Level::Company, view.icon == card.icon || !state.is_open(), view.icon.is_none()),
                (Level::Team, view.place == state.place, view.place.is_none()),
                (Level::External, view.capabilities == Some(state.capabilities) || !state.is_open(), view.capabilities.is_none()),
            ];
            for (at, (least, is_whole, is_nothing)) in fields.into_iter().enumerate() {
                prop_assert!(if level >= least { is_whole } else { is_nothing }, "field {at} at {level:?}");
            }
            let seen = view.availability;
            match level {
                Level::Blocked => prop_assert_eq!(seen, Availability::OFFLINE),
                Level::External => {
                    let coarse = [Availability::AVAILABLE, Availability::BUSY, Availability::AWAY, Availability::OFFLINE];
                    prop_assert!(coarse.contains(&seen));
                    prop_assert_eq!(seen.class() == Class::Offline, !state.is_open());
                }
                _ => prop_assert_eq!(seen, state.availability),
            }
        }
    }

    /// A blocked watcher gets, to the octet, what everybody gets of somebody who is offline and wrote nothing.
    #[test]
    fn blocked_looks_like_offline(state in state(), card in card()) {
        let nobody = compose(&Inputs { devices: &[], manual: &Manual::default(), calls: 0, now_unix_ms: 0 });
        let blocked = View::of(&state, &card, Level::Blocked);
        let body = pidf::render(&blocked, "sip:alice@contoso.example");
        for level in Level::ALL {
            let offline = View::of(&nobody, &card, *level);
            prop_assert_eq!(&offline, &blocked);
            prop_assert_eq!(&pidf::render(&offline, "sip:alice@contoso.example"), &body);
        }
    }

    /// The document of a lower level says nothing that depends on what is above it.
    #[test]
    fn documents_do_not_depend_on_what_is_above_the_level(state in state(), card in card()) {
        let poorer = State {
            activities: Activities::default(),
            idle_since_unix_ms: None,
            note: None,
            place: None,
            ..state.clone()
        };
        let nameless = crate::ContactCard { display_name: card.display_name.clone(), ..Default::default() };
        let body = |state: &State, card, level| pidf::render(&View::of(state, card, level), "sip:a@b.example");
        for level in [Level::Blocked, Level::External] {
            prop_assert_eq!(body(&state, &card, level), body(&poorer, &nameless, level));
        }
        let placeless = State { place: None, ..state.clone() };
        prop_assert_eq!(body(&state, &card, Level::Company), body(&placeless, &card, Level::Company));
    }
}
