//! What devices, choices and calls add up to.

use proptest::prelude::*;

use super::{Inputs, State, Why, compose};
use crate::testing::{device, manual};
use crate::{Activity, Availability, Capabilities, Class, DeviceState, Manual, ManualState};

fn of(devices: &[DeviceState], manual: &Manual, calls: usize, now_unix_ms: u64) -> State {
    let devices: Vec<&DeviceState> = devices.iter().collect();
    compose(&Inputs { devices: &devices, manual, calls, now_unix_ms })
}

fn at(availability: Availability) -> DeviceState {
    DeviceState { availability, ..DeviceState::registered() }
}

fn chosen(state: ManualState) -> Manual {
    Manual { state: Some(state), expires_unix_ms: Some(100), note: None }
}

#[test]
fn nobody_is_there_without_a_device() {
    for state in ManualState::ALL {
        let state = of(&[], &chosen(*state), 1, 0);
        assert_eq!((state.availability, state.why), (Availability::OFFLINE, Why::NoDevice));
    }
    let state = of(&[DeviceState::registered()], &Manual::default(), 0, 0);
    assert_eq!((state.availability.number(), state.why), (3500, Why::Device(0)));
}

#[test]
fn a_choice_wins_until_it_ends() {
    let devices = [at(Availability::AWAY), at(Availability::AVAILABLE)];
    for (choice, class) in [
        (ManualState::Busy, Class::Busy),
        (ManualState::DoNotDisturb, Class::DoNotDisturb),
        (ManualState::BeRightBack, Class::BeRightBack),
        (ManualState::Away, Class::Away),
        (ManualState::AppearOffline, Class::Offline),
    ] {
        let during = of(&devices, &chosen(choice), 1, 99);
        assert_eq!((during.availability.class(), during.why), (class, Why::Manual(choice)));
        assert_eq!(during.is_do_not_disturb(), choice == ManualState::DoNotDisturb);
        let after = of(&devices, &chosen(choice), 0, 100);
        assert_eq!((after.availability, after.why), (Availability::AVAILABLE, Why::Device(1)));
    }
    // Available says nothing that devices or calls do not overrule.
    let available = of(&devices[..1], &chosen(ManualState::Available), 0, 0);
    assert_eq!((available.availability, available.why), (Availability::AWAY, Why::Device(0)));
}

#[test]
fn a_call_makes_busy() {
    let away = [at(Availability::AWAY)];
    let state = of(&away, &Manual::default(), 2, 0);
    assert_eq!((state.availability, state.why), (Availability::BUSY, Why::InCall(2)));
    assert!(state.activities.has(Activity::OnThePhone));
    // But not less undisturbed.
    let state = of(&[at(Availability::DO_NOT_DISTURB)], &Manual::default(), 1, 0);
    assert!(state.is_do_not_disturb() && state.activities.has(Activity::OnThePhone));
}

#[test]
fn devices_are_idle_together() {
    let idle = |since| DeviceState { idle_since_unix_ms: since, ..at(Availability::IDLE) };
    assert_eq!(of(&[idle(Some(5)), idle(Some(7))], &Manual::default(), 0, 10).idle_since_unix_ms, Some(7));
    assert_eq!(of(&[idle(Some(5)), idle(None)], &Manual::default(), 0, 10).idle_since_unix_ms, None);
    assert_eq!(of(&[idle(Some(5))], &Manual::default(), 1, 10).idle_since_unix_ms, None);
}

proptest! {
    #[test]
    fn the_order_of_devices_breaks_ties_only(
        devices in prop::collection::vec(device(), 0..5),
        manual in manual(),
        calls in 0usize..2,
        now in 0u64..100,
        turn in 0usize..5,
    ) {
        let mut turned = devices.clone();
        turned.rotate_left(turn.min(devices.len()));
        turned.reverse();
        let (a, b) = (of(&devices, &manual, calls, now), of(&turned, &manual, calls, now));
        prop_assert_eq!(a.availability, b.availability);
        prop_assert_eq!(a.idle_since_unix_ms, b.idle_since_unix_ms);
        prop_assert_eq!(a.capabilities, b.capabilities);
        let best = devices.iter().map(|device| device.availability).min();
        let ties = devices.iter().filter(|device| Some(device.availability) == best).count();
        if ties <= 1 {
            let same = |why: Why, devices: &[DeviceState]| match why {
                Why::Device(at) => Some(devices[at].clone()),
                _ => None,
            };
            prop_assert_eq!(same(a.why, &devices), same(b.why, &turned));
            prop_assert_eq!((a.activities, a.note, a.place), (b.activities, b.note, b.place));
        }
    }

    #[test]
    fn a_state_is_what_the_strongest_input_says(
        devices in prop::collection::vec(device(), 0..5),
        manual in manual(),
        calls in 0usize..3,
        now in 0u64..100,
    ) {
        let state = of(&devices, &manual, calls, now);
        let best = devices.iter().map(|device| device.availability).min();
        let choice = manual.state_at(now).filter(|choice| *choice != ManualState::Available);
        match (best, choice) {
            (None, _) => prop_assert_eq!((state.availability, state.why), (Availability::OFFLINE, Why::NoDevice)),
            (_, Some(choice)) => {
                prop_assert_eq!((state.availability, state.why), (choice.availability(), Why::Manual(choice)));
            }
            (Some(best), None) if calls > 0 && best.class() != Class::DoNotDisturb => {
                prop_assert_eq!((state.availability, state.why), (Availability::BUSY, Why::InCall(calls)));
            }
            (Some(best), None) => {
                prop_assert_eq!(state.availability, best, "never above what the best device says");
                let Why::Device(at) = state.why else { panic!("a device") };
                prop_assert_eq!(devices[at].availability, best);
            }
        }
        // Offline exactly where nobody is there, or nobody wants to be.
        let says_offline = best.is_some_and(|best| best.class() == Class::Offline) && choice.is_none() && calls == 0;
        let is_offline = best.is_none() || choice == Some(ManualState::AppearOffline) || says_offline;
        prop_assert_eq!(!state.is_open(), is_offline);
        if is_offline {
            prop_assert!(state.activities.is_empty() && state.place.is_none() && state.idle_since_unix_ms.is_none());
            prop_assert_eq!(state.capabilities, Capabilities::default());
        } else {
            prop_assert_eq!(state.activities.has(Activity::OnThePhone) || calls == 0, true);
            let all = devices.iter().fold(Capabilities::default(), |all, device| all.union(device.capabilities));
            prop_assert_eq!(state.capabilities, all);
        }
        if let Some(note) = manual.note_at(now) {
            prop_assert_eq!(state.note.as_deref(), Some(note), "the person's own note wins");
        }
        // Composing again gives the same.
        prop_assert_eq!(of(&devices, &manual, calls, now), state);
    }

    /// Nothing changes between what `next_change` says and now.
    #[test]
    fn time_alone_changes_nothing_before_it_is_said(manual in manual(), now in 0u64..100) {
        let devices = [DeviceState::registered()];
        let next = manual.next_change(now).unwrap_or(200);
        prop_assert!(next > now);
        for later in now..next {
            prop_assert_eq!(of(&devices, &manual, 0, later), of(&devices, &manual, 0, now));
        }
    }
}
