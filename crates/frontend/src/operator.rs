//! Calls of administrators.

use directory::{
    CERTIFICATES_PER_USER_MAX, CertificateDigest, ClientCertificate, DigestSecrets, SipAddress, User, UserId,
    UserState,
};
use node::{CallToken, Flow, Level, Outcome, Output};
use presence::Manual;
use rand::Rng;
use records::{Change, Query, UserRecord};

use crate::admin::{
    Answer, Call, Device, PASSWORD_CHARACTERS_MIN, Refusal, Status, UserDetails, UserSummary,
};
use crate::app_passwords::{app_password_lines, secrets_of};
use crate::config::Adjustable;
use crate::documents::services::SERVER_LIST_USER;
use crate::documents::write::Waiting;
use crate::elsewhere::hop_to;
use crate::frontend::{FrontEnd, Persisting, Querying, State};
use crate::presence::manual::chosen;
use crate::users::Account;

/// Most users that one answer lists.
const LIST_MAX: usize = 1000;

impl FrontEnd {
    pub(crate) fn called(&mut self, token: CallToken, call: Call) {
        let call = match call {
            Call::Http(request) => return self.http(token, *request),
            call => call,
        };
        if self.state == State::Loading && !matches!(call, Call::Status | Call::Configure(_)) {
            return self.answer_call(token, Answer::Refused(Refusal::Starting));
        }
        if let Call::EditContacts { user, .. } | Call::SetAccess { user, .. } = &call {
            return match self.known(user) {
                Ok(id) => self.change_documents(id, Waiting::Call(token, Box::new(call))),
                Err(refusal) => self.answer_call(token, Answer::Refused(refusal)),
            };
        }
        let call = match call {
            Call::Replicate(batch) => {
                if let Err(refusal) = self.replicate(token, *batch) {
                    self.answer_call(token, Answer::Refused(refusal));
                }
                return;
            }
            call => call,
        };
        match self.begin(token, &call) {
            Ok(Begun::Answer(answer)) => self.answer_call(token, answer),
            Ok(Begun::Change(change)) => {
                self.end_tokens(&change);
                self.persist(change.clone(), Persisting::Call(token, Box::new(call), change))
            }
            Ok(Begun::Query) => {}
            Err(refusal) => self.answer_call(token, Answer::Refused(refusal)),
        }
    }

    fn configure(&mut self, adjustable: &Adjustable) {
        let Adjustable {
            registration,
            authentication,
            messaging,
            presence,
            calls,
            federation,
            remote_access,
            transactions_max,
        } = adjustable.clone();
        let levels_change = self.config.presence.levels != presence.levels;
        self.auth.live_for(authentication.nonce_lifetime);
        self.stack.limit_pending(transactions_max);
        self.config.registration = registration;
        self.config.authentication = authentication;
        self.config.messaging = messaging;
        self.config.presence = presence;
        self.config.calls = calls;
        self.federation_hop = federation.route.as_ref().map(hop_to);
        self.config.federation = federation;
        self.config.remote_access = remote_access;
        self.config.transactions_max = transactions_max;
        if levels_change {
            let mut users: Vec<UserId> = self.users.iter().map(|account| account.user.id).collect();
            users.sort_unstable();
            users.into_iter().for_each(|user| self.rules_changed(user));
        }
        self.report(
            Level::Info,
            "administered",
            None,
            "limits and policies are those of the configuration",
            Vec::new(),
        );
    }

    fn begin(&mut self, token: CallToken, call: &Call) -> Result<Begun, Refusal> {
        Ok(match call {
            Call::AddUser { address, display_name, password, role } => {
                self.check_domain(address)?;
                check_password(password)?;
                let is_service = address.user() == SERVER_LIST_USER || self.service_owner(address).is_some();
                let is_app_password = self.users.of_app_password(address.user()).is_some();
                if is_service || is_app_password || self.users.find_address(address).is_some() {
                    return Err(Refusal::Exists(address.clone()));
                }
                Begun::Change(Change::AddUser {
                    user: User {
                        // Never given twice, also after a removal: 2^62 are not met again. Positive in every database.
                        id: UserId(self.rng.random_range(1..1 << 62)),
                        address: address.clone(),
                        display_name: display_name.clone(),
                        state: UserState::Enabled,
                        role: *role,
                        permissions: self.config.federation.new_users,
                        aliases: Vec::new(),
                        account: None,
                        tokens_since_unix_ms: 0,
                        secrets: Some(secrets(address, password)),
                    },
                    at_unix_ms: self.now.wall.0,
                })
            }
            Call::SetUserState(address, state) => Begun::Change(Change::SetUserState {
                user: self.known(address)?,
                state: *state,
                at_unix_ms: self.now.wall.0,
                tokens_since_unix_ms: match state {
                    UserState::Enabled => 0,
                    UserState::Disabled => self.tokens_since_now(self.known(address)?).0,
                },
            }),
            Call::SetPermissions(address, permissions) => Begun::Change(Change::SetUserPermissions {
                user: self.known(address)?,
                permissions: *permissions,
            }),
            Call::SetPassword(address, password) => {
                check_password(password)?;
                let user = self.known(address)?;
                let account = self.users.get(user).expect("it was just found");
                if account.user.account.is_some() {
                    return Err(Refusal::OfDirectory(account.user.address.clone()));
                }
                Begun::Change(Change::SetUserSecrets {
                    user,
                    secrets: secrets(&account.user.address, password),
                    tokens_since_unix_ms: self.tokens_since_now(user).0,
                })
            }
            Call::AddCertificate(address, certificate) => {
                Begun::Change(self.certificate_to_add(address, *certificate)?)
            }
            Call::RemoveCertificate(address, digest) => {
                let user = self.known(address)?;
                if self.users.owner_of_certificate(digest).is_none_or(|owner| owner.user.id != user) {
                    let (user, digest) = (address.clone(), *digest);
                    return Err(Refusal::NoSuchCertificate { user, digest });
                }
                Begun::Change(Change::RemoveCertificate { user, digest: *digest })
            }
            Call::RemoveUser(address) => {
                Begun::Change(Change::RemoveUser { user: self.known(address)?, at_unix_ms: self.now.wall.0 })
            }
            Call::ListUsers { containing, after, limit } => {
                Begun::Answer(Answer::Users(self.list(containing.as_deref(), after.as_ref(), *limit)))
            }
            Call::ShowUser(address) => {
                let account = self.users.get(self.known(address)?).expect("it was just found");
                Begun::Answer(Answer::User(Box::new(self.details(account))))
            }
            Call::ShowPresence(address) => {
                let account = self.users.get(self.known(address)?).expect("it was just found");
                Begun::Answer(Answer::Presence(Box::new(self.presence_details(account))))
            }
            Call::SetPresence { address, choice, note } => {
                let user = self.known(address)?;
                let manual = &self.users.get(user).expect("it was just found").person.manual;
                Begun::Change(Change::SetManual { user, manual: chosen(manual, *choice, note.as_ref()) })
            }
            Call::ClearPresence(address) => {
                Begun::Change(Change::SetManual { user: self.known(address)?, manual: Manual::default() })
            }
            Call::ShowCallSettings(address) => {
                Begun::Answer(Answer::CallSettings(Box::new(self.call_settings_of(address)?)))
            }
            Call::SetCallSettings { address, changes } => {
                Begun::Change(self.changed_call_settings(address, changes)?)
            }
            Call::ListCalls { address, before, missed_only, limit } => {
                self.read_call_log(token, address, *before, *missed_only, *limit)?;
                Begun::Query
            }
            Call::ReplicationState => {
                self.query(Query::ReplicationState, Querying::ReplicationState(token));
                Begun::Query
            }
            Call::ListedServers => Begun::Answer(Answer::ListedServers(self.listed_servers.clone())),
            Call::KnownUsers { after, limit } => {
                Begun::Answer(Answer::KnownUsers(self.known_users(*after, *limit)))
            }
            Call::Objects { after, limit } => {
                self.read_objects(token, *after, *limit);
                Begun::Query
            }
            Call::WaitForObjects { after } => {
                self.wait_for_objects(token, *after)?;
                Begun::Query
            }
            Call::Photo(digest) => {
                self.query(Query::Photo(*digest), Querying::Photo(token));
                Begun::Query
            }
            Call::PruneObjects { before_unix_ms } => {
                Begun::Change(Change::PruneObjects { before_unix_ms: *before_unix_ms })
            }
            Call::IssueToken { user, lifetime, renewed } => {
                Begun::Answer(Answer::IssuedToken(self.issue_token(*user, *lifetime, *renewed)?))
            }
            Call::JudgeToken(token) => {
                Begun::Answer(Answer::TokenHolder(Box::new(self.token_holder(&token.0)?)))
            }
            Call::RevokeTokens(whom) => {
                let user = self.whom(whom)?.user.id;
                Begun::Change(Change::RevokeTokens { user, since_unix_ms: self.tokens_since_now(user).0 })
            }
            Call::FindForSignIn(name) => {
                Begun::Answer(Answer::SignInFacts(Box::new(self.find_for_sign_in(name)?)))
            }
            Call::CheckPassword { user, password, source } => {
                self.check_password(*user, &password.0, *source)?;
                Begun::Answer(Answer::Done)
            }
            Call::AddAppPassword { user, label, purpose } => {
                self.issue_app_password(token, user, label, *purpose)?;
                Begun::Query
            }
            Call::ListAppPasswords(user) => {
                Begun::Answer(Answer::AppPasswords(app_password_lines(self.whom(user)?)))
            }
            Call::RemoveAppPassword { user, username } => {
                let user = self.whom(user)?.user.id;
                let username = username.to_lowercase();
                if self.users.of_app_password(&username).is_none_or(|(owner, _)| owner.user.id != user) {
                    return Err(Refusal::NoSuchAppPassword);
                }
                Begun::Change(Change::RemoveAppPassword { user, username })
            }
            Call::CheckAppPassword { username, password, purpose, source } => {
                let holder = self.check_app_password(username, &password.0, *purpose, *source)?;
                Begun::Answer(Answer::Holder(Box::new(holder)))
            }
            Call::Replicate(_) => unreachable!("steps of the directory take another way"),
            Call::Status => Begun::Answer(Answer::Status(self.status())),
            Call::Explain { from, to } => Begun::Answer(Answer::Explanation(self.explain(from, to))),
            Call::TraceStart(request) => {
                let (id, subject, duration) = self.trace_start(request)?;
                Begun::Answer(Answer::TraceStarted { id, subject, duration })
            }
            Call::TracePoll(id) => Begun::Answer(Answer::Trace(self.trace_poll(*id)?)),
            Call::TraceStop(id) => {
                self.trace_stop(*id)?;
                Begun::Answer(Answer::Done)
            }
            Call::Configure(adjustable) => {
                self.configure(adjustable);
                Begun::Answer(Answer::Done)
            }
            Call::ShowContacts(address) => Begun::Answer(self.contacts(self.known(address)?)),
            Call::ShowAccess(address) => Begun::Answer(self.access(self.known(address)?)),
            Call::EditContacts { .. } | Call::SetAccess { .. } => {
                unreachable!("changes of documents take another way")
            }
            Call::Http(_) => unreachable!("clients' requests take another way"),
        })
    }

    fn certificate_to_add(
        &self,
        address: &SipAddress,
        certificate: ClientCertificate,
    ) -> Result<Change, Refusal> {
        let user = self.known(address)?;
        if certificate.remaining(self.now.wall.0).is_none() {
            return Err(Refusal::CertificateExpired);
        }
        self.check_certificate_is_free(&certificate)?;
        let account = self.users.get(user).expect("it was just found");
        // What is on its way to storage counts.
        let is_on_its_way = |what: &&Persisting| match what {
            Persisting::Call(_, _, Change::AddCertificate { user: of, .. }) => *of == user,
            _ => false,
        };
        let count = account.certificates.len() + self.persisting.values().filter(is_on_its_way).count();
        if count >= CERTIFICATES_PER_USER_MAX {
            return Err(Refusal::TooManyCertificates(address.clone()));
        }
        Ok(Change::AddCertificate { user, certificate })
    }

    fn check_certificate_is_free(&self, certificate: &ClientCertificate) -> Result<(), Refusal> {
        let digest = certificate.digest;
        match self.users.owner_of_certificate(&digest) {
            Some(owner) => Err(Refusal::CertificateTaken { digest, owner: owner.user.address.clone() }),
            None => Ok(()),
        }
    }

    /// The change is durable: now it is done here, and the caller is told.
    pub(crate) fn call_persisted(&mut self, token: CallToken, call: Call, change: Change, outcome: Outcome) {
        if let (true, Call::AddUser { address, .. }) = (outcome != Outcome::Applied, &call) {
            return self.answer_call(token, Answer::Refused(Refusal::Exists(address.clone())));
        }
        if let (true, Call::AddCertificate(_, certificate)) = (outcome != Outcome::Applied, &call) {
            // Another call was faster, and is done here already; that its certificate went since is as good a reason.
            let refusal = self.check_certificate_is_free(certificate).err().unwrap_or(Refusal::Busy);
            return self.answer_call(token, Answer::Refused(refusal));
        }
        match change {
            Change::AddCertificate { user, certificate } if self.has_lost_credentials(user) => {
                self.persist_soon(Change::RemoveCertificate { user, digest: certificate.digest });
                return self.answer_call(token, Answer::Refused(Refusal::Disabled));
            }
            Change::AddUser { user, .. } => {
                self.objects_changed();
                let id = user.id;
                self.load_user(UserRecord::fresh(user));
                self.rows_come_home(id);
            }
            Change::SetUserState { user, state, .. } => {
                self.objects_changed();
                if let Some(account) = self.users.get_mut(user) {
                    account.user.state = state;
                    self.replica.changed(self.now.monotonic, user);
                }
                if state == UserState::Disabled {
                    self.leave(user);
                }
            }
            Change::SetUserPermissions { user, permissions } => {
                if let Some(account) = self.users.get_mut(user) {
                    let before = account.user.clone();
                    account.user.permissions = permissions.apply(before.permissions);
                    self.permissions_changed(user, &before);
                    self.replica.changed(self.now.monotonic, user);
                }
            }
            Change::SetUserSecrets { user, secrets, .. } => {
                if let Some(account) = self.users.get_mut(user) {
                    account.user.secrets = Some(secrets);
                    self.replica.changed(self.now.monotonic, user);
                }
                self.cut_off(user);
            }
            Change::AddCertificate { user, certificate } => self.certificate_added(user, certificate),
            Change::RemoveCertificate { user, digest } => self.certificate_removed(user, &digest),
            Change::RemoveUser { user, .. } => {
                self.objects_changed();
                self.user_removed(user);
            }
            Change::RemoveAppPassword { user, username } => self.app_password_removed(user, &username),
            Change::PruneObjects { .. } => return self.answer_call(token, Answer::Done),
            Change::RevokeTokens { user, since_unix_ms } => self.tokens_revoked(user, since_unix_ms),
            Change::SetCallSettings { user, settings } => self.set_call_settings(user, settings),
            Change::SetManual { user, manual } => self.set_manual(user, manual),
            _ => {}
        }
        self.administered(token, &call);
    }

    /// A user is gone for good, with everything here.
    pub(crate) fn user_removed(&mut self, user: UserId) {
        self.leave(user);
        self.rows_leave_home(user);
        self.stop_being_watched(user);
        self.send_notifies();
        self.replica.gone(self.now.monotonic, user);
        if let Some(gone) = self.users.remove(user) {
            self.release_services(user, gone.documents.services());
        }
    }

    fn certificate_added(&mut self, user: UserId, certificate: ClientCertificate) {
        if self.users.add_certificate(user, certificate) {
            self.replica.changed(self.now.monotonic, user);
        }
    }

    fn certificate_removed(&mut self, user: UserId, digest: &CertificateDigest) {
        if self.users.remove_certificate(user, digest) {
            self.replica.changed(self.now.monotonic, user);
            self.certificate_withdrawn(user, digest);
        }
    }

    /// Tells the operator and the caller that a change is in force.
    pub(crate) fn administered(&mut self, token: CallToken, call: &Call) {
        self.administration_reported(call);
        self.answer_call(token, Answer::Done);
    }

    pub(crate) fn administration_reported(&mut self, call: &Call) {
        self.report(
            Level::Info,
            "administered",
            None,
            "an administrator's change is in force",
            vec![("call", format!("{call:?}"))],
        );
    }

    pub(crate) fn answer_call(&mut self, token: CallToken, answer: Answer) {
        self.outputs.push_back(Output::Answer { token, answer });
    }

    pub(crate) fn known(&self, address: &SipAddress) -> Result<UserId, Refusal> {
        self.users.find_address(address).ok_or_else(|| Refusal::NoSuchUser(address.clone()))
    }

    pub(crate) fn check_domain(&self, address: &SipAddress) -> Result<(), Refusal> {
        if self.config.domains.iter().any(|d| d.as_str() == address.domain()) {
            return Ok(());
        }
        let ours = self.config.domains.iter().map(ToString::to_string).collect();
        Err(Refusal::ForeignDomain { domain: address.domain().to_owned(), ours })
    }

    fn list(&self, containing: Option<&str>, after: Option<&SipAddress>, limit: usize) -> Vec<UserSummary> {
        let containing = containing.map(str::to_lowercase);
        let matches = |a: &&Account| {
            let is_behind = after.is_none_or(|after| a.user.address > *after);
            let holds = |text: &str| containing.as_deref().is_none_or(|c| text.to_lowercase().contains(c));
            is_behind && (holds(a.user.address.as_str()) || holds(&a.user.display_name))
        };
        let mut accounts: Vec<&Account> = self.users.iter().filter(matches).collect();
        accounts.sort_by(|a, b| a.user.address.cmp(&b.user.address));
        accounts.into_iter().take(limit.min(LIST_MAX)).map(summary).collect()
    }

    fn details(&self, account: &Account) -> UserDetails {
        let devices = account.bindings.iter().map(|b| Device {
            contact: b.uri.to_string(),
            transport: b.transport.name(),
            remote: match b.flow {
                _ if let Some(remote) = &b.remote_flow => remote.edge.to_string(),
                Flow::Connection(node::ConnectionId(u64::MAX)) => String::new(),
                _ => b.remote.to_string(),
            },
            user_agent: b.user_agent.to_string(),
            instance: b.instance.as_ref().map(ToString::to_string),
            expires_seconds: b.expires_at.since(self.now.monotonic).as_secs(),
        });
        UserDetails {
            summary: summary(account),
            aliases: account.user.aliases.clone(),
            account: account.user.account.clone(),
            permissions: account.user.may(),
            app_passwords: app_password_lines(account),
            certificates: account.certificates.clone(),
            devices: devices.collect(),
            presence: self.presence_details(account),
        }
    }

    fn status(&self) -> Status {
        Status {
            users: self.users.len(),
            bindings: self.binding_owners.len(),
            connections: self.connections.len(),
            transactions: self.stack.pending(),
            storage_healthy: self.storage_healthy,
            uptime_seconds: self.started.map_or(0, |s| self.now.monotonic.since(s).as_secs()),
        }
    }
}

enum Begun {
    Answer(Answer),
    Change(Change),
    /// Storage was asked.
    Query,
}

fn summary(account: &Account) -> UserSummary {
    UserSummary {
        address: account.user.address.clone(),
        display_name: account.user.display_name.clone(),
        state: account.user.state,
        standing: account.user.account.as_ref().map(|account| account.standing),
        role: account.user.role(),
        devices: account.bindings.0.len(),
        waiting_messages: account.mailbox.waiting(),
    }
}

fn check_password(password: &str) -> Result<(), Refusal> {
    if password.chars().count() < PASSWORD_CHARACTERS_MIN { Err(Refusal::WeakPassword) } else { Ok(()) }
}

/// What Digest is checked against (RFC 7616 §3.4.2): the user name is the user part of the address, the realm its domain.
pub fn secrets(address: &SipAddress, password: &str) -> DigestSecrets {
    secrets_of(address.user(), address.domain(), password)
}
