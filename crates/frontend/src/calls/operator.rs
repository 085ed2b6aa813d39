//! What administrators change and read of calls: settings and logs.

use directory::SipAddress;
use node::CallToken;
use records::{CallSettings, Change, Query, StoredCall};

use super::forwarding::RING_ALSO_MAX;
use crate::admin::{Answer, CallSettingChange, Cause, Refusal};
use crate::frontend::{FrontEnd, Querying};

/// Least and most seconds that devices ring before a call goes on: shorter rings nobody, and longer than timer C
/// (RFC 3261 §16.6) no caller waits.
const NO_ANSWER_SECONDS: std::ops::RangeInclusive<u32> = 5..=180;
/// Most calls in one answer.
const LOG_PAGE_MAX: u32 = 1000;

impl FrontEnd {
    /// The settings of a user, changed as asked.
    pub(crate) fn changed_call_settings(
        &self,
        address: &SipAddress,
        changes: &[CallSettingChange],
    ) -> Result<Change, Refusal> {
        let user = self.known(address)?;
        let account = self.users.get(user).expect("it was just found");
        let mut settings = account.call_settings.as_deref().cloned().unwrap_or_default();
        for change in changes {
            match change {
                CallSettingChange::Forward(cause, target) => {
                    if let Some(target) = target {
                        self.check_call_target(address, target)?;
                    }
                    *forward_on(&mut settings, *cause) = target.clone();
                }
                CallSettingChange::NoAnswerAfter(seconds) => {
                    if *seconds != 0 && !NO_ANSWER_SECONDS.contains(seconds) {
                        return Err(Refusal::CallSetting("devices ring for 5 to 180 seconds"));
                    }
                    settings.no_answer_seconds = *seconds;
                }
                CallSettingChange::RingAlso(targets) => {
                    if targets.len() > RING_ALSO_MAX {
                        return Err(Refusal::CallSetting("no more than 10 others ring together with a user"));
                    }
                    for target in targets {
                        self.check_call_target(address, target)?;
                    }
                    settings.ring_also = targets.clone();
                }
                CallSettingChange::BusyOnBusy(choice) => settings.busy_on_busy = *choice,
            }
        }
        Ok(Change::SetCallSettings { user, settings })
    }

    /// Where calls are sent is one of our users, and somebody else.
    fn check_call_target(&self, of: &SipAddress, target: &SipAddress) -> Result<(), Refusal> {
        if target == of {
            return Err(Refusal::CallSetting("calls cannot be sent on to the one who was called"));
        }
        self.check_domain(target)?;
        self.known(target).map(|_| ())
    }

    /// Settings are durable, or were loaded.
    pub(crate) fn set_call_settings(&mut self, user: directory::UserId, settings: CallSettings) {
        if let Some(account) = self.users.get_mut(user) {
            account.call_settings = (settings != CallSettings::default()).then(|| Box::new(settings));
        }
    }

    pub(crate) fn call_settings_of(&self, address: &SipAddress) -> Result<CallSettings, Refusal> {
        let account = self.users.get(self.known(address)?).expect("it was just found");
        Ok(account.call_settings.as_deref().cloned().unwrap_or_default())
    }

    /// Asks storage for a page of a call log.
    pub(crate) fn read_call_log(
        &mut self,
        token: CallToken,
        address: &SipAddress,
        before: Option<(u64, [u8; 16])>,
        missed_only: bool,
        limit: u32,
    ) -> Result<(), Refusal> {
        let owner = self.known(address)?;
        let limit = limit.clamp(1, LOG_PAGE_MAX);
        self.query(Query::Calls { owner, before, missed_only, limit }, Querying::CallLog(token));
        Ok(())
    }

    pub(crate) fn call_log_read(&mut self, token: CallToken, calls: Vec<StoredCall>) {
        self.answer_call(token, Answer::CallLog(calls));
    }
}

fn forward_on(settings: &mut CallSettings, cause: Cause) -> &mut Option<SipAddress> {
    match cause {
        Cause::Always => &mut settings.forward_always,
        Cause::DoNotDisturb => &mut settings.forward_do_not_disturb,
        Cause::Busy => &mut settings.forward_busy,
        Cause::NoAnswer => &mut settings.forward_no_answer,
        Cause::Unregistered => &mut settings.forward_unregistered,
    }
}
