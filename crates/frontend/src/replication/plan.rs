//! Which addresses the accounts of one step get. Nobody loses an address to another account: who has it keeps it, a local account
//! keeps it against the directory, and within a step the earlier account has it. Addresses may go round among the accounts of a step.

use std::collections::{BTreeMap, BTreeSet};

use directory::{ObjectId, SipAddress};

use crate::admin::AccountRefusal;

/// Former addresses that lead to one user: a person has a handful, and what Directors are told of an account stays short.
pub(super) const ALIASES_PER_USER_MAX: usize = 100;

/// What an account of the directory asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) object: ObjectId,
    /// What it has now; `None` for a new one.
    pub(super) has: Option<&'a SipAddress>,
    pub(super) address: &'a SipAddress,
    pub(super) aliases: &'a [SipAddress],
}

/// Whose an address is before the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// An account of the directory.
    Object(ObjectId),
    /// No account of the directory can have it.
    Never(AccountRefusal),
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// `None` for a new account that is not added.
    pub(super) address: Option<SipAddress>,
    /// In order.
    pub(super) aliases: Vec<SipAddress>,
    pub(super) refused: Vec<(SipAddress, AccountRefusal)>,
}

/// Decides all wishes, each of another object.
pub(super) fn decide(wishes: &[Wish<'_>], holder: impl Fn(&SipAddress) -> Holder) -> Vec<Granted> {
    let in_step: BTreeMap<ObjectId, &Wish<'_>> = wishes.iter().map(|wish| (wish.object, wish)).collect();
    // Why it can be nobody's of the step but its holder's.
    let outside = |wish: &Wish<'_>, address: &SipAddress| match holder(address) {
        Holder::Nobody => None,
        Holder::Never(reason) => Some(reason),
        Holder::Object(other) if other == wish.object || in_step.contains_key(&other) => None,
        Holder::Object(other) => Some(AccountRefusal::OtherAccount(other)),
    };
    let mut refused: Vec<Option<AccountRefusal>> =
        wishes.iter().map(|wish| outside(wish, wish.address)).collect();
    let claims = loop {
        match claims(wishes, &mut refused) {
            Some(claims) => break claims,
            // Somebody keeps what another had been given already.
            None => continue,
        }
    };
    let mut aliases_of: BTreeMap<&SipAddress, ObjectId> = BTreeMap::new();
    let mut granted = Vec::with_capacity(wishes.len());
    for (wish, reason) in wishes.iter().zip(&refused) {
        let mut these = Granted { address: None, aliases: Vec::new(), refused: Vec::new() };
        if let Some(reason) = reason {
            these.refused.push((wish.address.clone(), *reason));
        }
        let address = if reason.is_some() { wish.has } else { Some(wish.address) };
        let Some(address) = address else {
            granted.push(these);
            continue;
        };
        these.address = Some(address.clone());
        let asked: BTreeSet<&SipAddress> = wish.aliases.iter().filter(|alias| *alias != address).collect();
        for alias in asked {
            let keeper = match holder(alias) {
                Holder::Object(other) if other != wish.object => {
                    in_step.get(&other).filter(|other| other.aliases.contains(alias)).map(|_| other)
                }
                _ => None,
            };
            let other = claims.get(alias).or(aliases_of.get(alias)).copied().or(keeper);
            let too_many =
                (these.aliases.len() >= ALIASES_PER_USER_MAX).then_some(AccountRefusal::TooManyAliases);
            match outside(wish, alias).or(other.map(AccountRefusal::OtherAccount)).or(too_many) {
                Some(reason) => these.refused.push((alias.clone(), reason)),
                None => {
                    aliases_of.insert(alias, wish.object);
                    these.aliases.push(alias.clone());
                }
            }
        }
        granted.push(these);
    }
    granted
}

/// Whose each address is behind the step, or `None` where somebody was refused who keeps an address: then all must be decided anew.
fn claims<'a>(
    wishes: &[Wish<'a>],
    refused: &mut [Option<AccountRefusal>],
) -> Option<BTreeMap<&'a SipAddress, ObjectId>> {
    let mut claims: BTreeMap<&SipAddress, ObjectId> = BTreeMap::new();
    for (wish, reason) in wishes.iter().zip(&*refused) {
        if let Some(has) = wish.has.filter(|has| reason.is_some() || *has == wish.address) {
            claims.insert(has, wish.object);
        }
    }
    let mut keeps = false;
    for (wish, reason) in wishes.iter().zip(refused) {
        if reason.is_some() {
            continue;
        }
        let owner = *claims.entry(wish.address).or_insert(wish.object);
        if owner != wish.object {
            *reason = Some(AccountRefusal::OtherAccount(owner));
            keeps |= wish.has.is_some();
        }
    }
    (!keeps).then_some(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> SipAddress {
        SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
    }

    /// `object has>address+alias+alias`, `-` for nothing; prints what each gets, and what it does not. Local accounts are named `local`.
    fn check(wishes: &[&str], held: &[(&str, u8)], expected: &[&str]) {
        struct Parsed {
            object: ObjectId,
            has: Option<SipAddress>,
            address: SipAddress,
            aliases: Vec<SipAddress>,
        }
        let object = |octet: u8| ObjectId([octet; 16]);
        let parsed: Vec<Parsed> = wishes
            .iter()
            .map(|wish| {
                let (id, rest) = wish.split_once(' ').unwrap();
                let (has, rest) = rest.split_once('>').unwrap();
                let mut names = rest.split('+').map(address);
                Parsed {
                    object: object(id.parse().unwrap()),
                    has: (has != "-").then(|| address(has)),
                    address: names.next().unwrap(),
                    aliases: names.collect(),
                }
            })
            .collect();
        let wishes: Vec<Wish<'_>> = parsed
            .iter()
            .map(|p| Wish { object: p.object, has: p.has.as_ref(), address: &p.address, aliases: &p.aliases })
            .collect();
        let holder = |asked: &SipAddress| {
            if asked.user() == "local" {
                return Holder::Never(AccountRefusal::LocalAccount);
            }
            let of_wish = parsed.iter().find(|p| p.has.as_ref() == Some(asked)).map(|p| p.object);
            let held = held.iter().find(|(name, _)| asked.user() == *name).map(|(_, id)| object(*id));
            of_wish.or(held).map_or(Holder::Nobody, Holder::Object)
        };
        let printed: Vec<String> = decide(&wishes, holder)
            .iter()
            .map(|granted| {
                let mut text = granted.address.as_ref().map_or("-", SipAddress::user).to_owned();
                granted.aliases.iter().for_each(|alias| text += &format!("+{}", alias.user()));
                for (address, reason) in &granted.refused {
                    let why = match reason {
                        AccountRefusal::OtherAccount(other) => other.0[0].to_string(),
                        _ => "local".to_owned(),
                    };
                    text += &format!(" !{}:{why}", address.user());
                }
                text
            })
            .collect();
        assert_eq!(printed, expected);
    }

    #[test]
    fn addresses_go_round_within_a_step() {
        check(&["1 a>b", "2 b>a"], &[], &["b", "a"]);
        check(&["1 a>b+a", "2 ->c"], &[], &["b+a", "c"]);
    }

    #[test]
    fn who_has_an_address_keeps_it() {
        check(&["1 ->local", "2 b>local"], &[], &["- !local:local", "b !local:local"]);
        check(&["1 ->a", "2 a>a"], &[], &["- !a:2", "a"]);
        check(&["1 ->a"], &[("a", 9)], &["- !a:9"]);
        check(&["1 ->a", "2 ->a"], &[], &["a", "- !a:1"]);
    }

    #[test]
    fn who_is_refused_keeps_what_another_was_to_get() {
        // 1 wants what a local account has, and so 2 does not get what 1 keeps, and 3 not what 2 keeps.
        check(&["3 c>b", "2 b>a", "1 a>local"], &[], &["c !b:2", "b !a:1", "a !local:local"]);
    }

    #[test]
    fn an_alias_gives_way_to_an_address_and_to_who_had_it() {
        check(&["1 a>b+a", "2 ->a"], &[], &["b !a:2", "a"]);
        check(&["1 a>a+old", "2 b>b+old"], &[("old", 2)], &["a !old:2", "b+old"]);
        check(&["1 a>a+old", "2 b>b"], &[("old", 2)], &["a+old", "b"]);
        check(&["1 a>a+old"], &[("old", 9)], &["a !old:9"]);
        check(&["1 a>a+x+x+a+local"], &[], &["a+x !local:local"]);
    }
}
