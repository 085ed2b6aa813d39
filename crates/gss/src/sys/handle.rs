//! Owners of what the library hands out: buffers, names, credentials, contexts. Each gives back what it owns.

use std::ffi::{CString, c_int};
use std::ptr::{null, null_mut};

use super::{
    Api, Bindings, Buffer, KERBEROS, KeyValue, KeyValueSet, Oid, OidSet, Opaque, Round, SPNEGO, Word,
};
use crate::ChannelBinding;
use crate::error::Error;

/// A buffer that the library fills and that is given back to it.
pub(super) struct Output {
    api: &'static Api,
    raw: Buffer,
}

impl Output {
    pub(super) fn new(api: &'static Api) -> Output {
        Output { api, raw: Buffer::EMPTY }
    }

    pub(super) fn raw(&mut self) -> *mut Buffer {
        &mut self.raw
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.raw.value.is_null() {
            return &[];
        }
        // SAFETY: the library filled it in: so many bytes are there, until they are released in `drop`.
        unsafe { std::slice::from_raw_parts(self.raw.value.cast(), self.raw.length) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: it is empty or was filled by the library, and nobody uses it any more.
        unsafe { (self.api.gss_release_buffer)(&mut minor, &mut self.raw) };
    }
}

/// A principal, as the library holds it.
pub(crate) struct Name {
    api: &'static Api,
    raw: Opaque,
}

// SAFETY: a name is plain memory of the library, without ties to a thread; it changes no more once it is made, and the
// calls that read it take its lock where they need one.
unsafe impl Send for Name {}
// SAFETY: see above.
unsafe impl Sync for Name {}

impl Name {
    pub(crate) fn import(api: &'static Api, text: &str, kind: &'static Oid) -> Result<Name, Error> {
        let mut name = Name { api, raw: null_mut() };
        let mut minor = 0;
        let mut input = Buffer::reading(text.as_bytes());
        // SAFETY: the text lives through the call, which copies it; the name is ours from here on.
        let major = unsafe { (api.gss_import_name)(&mut minor, &mut input, kind, &mut name.raw) };
        api.judge("gss_import_name", major, minor, &KERBEROS)?;
        Ok(name)
    }

    /// As people write it: `alice@CORP.EXAMPLE`.
    pub(crate) fn text(&self) -> Result<String, Error> {
        let mut minor = 0;
        let mut text = Output::new(self.api);
        let mut kind: *const Oid = null();
        // SAFETY: the name is a live one; the kind that comes back belongs to the library and is not used.
        let major = unsafe { (self.api.gss_display_name)(&mut minor, self.raw, text.raw(), &mut kind) };
        self.api.judge("gss_display_name", major, minor, &KERBEROS)?;
        Ok(String::from_utf8_lossy(text.bytes()).into_owned())
    }

    /// The value of an attribute that the mechanism vouches for (RFC 6680 §7.4); `None` where there is none, or nobody
    /// vouches for it.
    pub(crate) fn attribute(&self, attribute: &str) -> Option<Vec<u8>> {
        let mut minor = 0;
        let mut value = Output::new(self.api);
        let mut display = Output::new(self.api);
        let (mut authenticated, mut complete): (c_int, c_int) = (0, 0);
        // As the caller says it at first: no value was read yet.
        let mut more: c_int = -1;
        let mut wanted = Buffer::reading(attribute.as_bytes());
        // SAFETY: the name is a live one, and every pointer is to a local that outlives the call.
        let major = unsafe {
            (self.api.gss_get_name_attribute)(
                &mut minor,
                self.raw,
                &mut wanted,
                &mut authenticated,
                &mut complete,
                value.raw(),
                display.raw(),
                &mut more,
            )
        };
        (major == 0 && authenticated != 0).then(|| value.bytes().to_vec())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        let mut minor = 0;
        // SAFETY: it is a live name that nobody else has.
        unsafe { (self.api.gss_release_name)(&mut minor, &mut self.raw) };
    }
}

/// Which side credentials are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Usage {
    Initiate = 1,
    Accept = 2,
}

/// What we prove ourselves with, or judge others by.
pub(crate) struct Credentials {
    api: &'static Api,
    raw: Opaque,
}

// SAFETY: credentials have no ties to a thread.
unsafe impl Send for Credentials {}
// SAFETY: MIT's library locks what changes within Kerberos credentials (`krb5_gss_cred_id_rec.lock`), and changes
// nothing else of them once `acquire` is through; several threads may use them at once.
unsafe impl Sync for Credentials {}

impl Credentials {
    /// For Kerberos, and to initiate also for Kerberos within SPNEGO; for no other mechanism that may be installed. `places`
    /// says where keys and tickets are, by MIT's names for them: `keytab`, `client_keytab`, `ccache`, `rcache`.
    pub(crate) fn acquire(
        api: &'static Api,
        name: Option<&Name>,
        usage: Usage,
        places: &[(&str, String)],
    ) -> Result<Credentials, Error> {
        let texts: Vec<(CString, CString)> = places
            .iter()
            .map(|(key, value)| Ok((CString::new(*key)?, CString::new(value.as_str())?)))
            .collect::<Result<_, std::ffi::NulError>>()
            .map_err(|_| Error::of_ours("gss_acquire_cred_from", "a path or name with a zero octet"))?;
        let mut elements: Vec<KeyValue> =
            texts.iter().map(|(key, value)| KeyValue { key: key.as_ptr(), value: value.as_ptr() }).collect();
        let store = KeyValueSet { count: elements.len() as Word, elements: elements.as_mut_ptr() };
        let mut wanted = [KERBEROS, SPNEGO];
        let wanted = match usage {
            Usage::Initiate => &mut wanted[..],
            Usage::Accept => &mut wanted[..1],
        };
        let mechanisms = OidSet { count: wanted.len(), elements: wanted.as_mut_ptr() };

        let mut credentials = Credentials { api, raw: null_mut() };
        let mut minor = 0;
        // SAFETY: name, store and mechanisms live through the call, which copies what it keeps; null asks for none of
        // what it could tell.
        let major = unsafe {
            (api.gss_acquire_cred_from)(
                &mut minor,
                name.map_or(null_mut(), |name| name.raw),
                0,
                &mechanisms,
                usage as c_int,
                &store,
                &mut credentials.raw,
                null_mut(),
                null_mut(),
            )
        };
        api.judge("gss_acquire_cred_from", major, minor, &KERBEROS)?;

        if matches!(usage, Usage::Accept) {
            return Ok(credentials);
        }
        let mut kerberos = [KERBEROS];
        let within_spnego = OidSet { count: kerberos.len(), elements: kerberos.as_mut_ptr() };
        // SAFETY: the credentials are live and no other thread has them yet; the set is copied.
        let major = unsafe { (api.gss_set_neg_mechs)(&mut minor, credentials.raw, &within_spnego) };
        api.judge("gss_set_neg_mechs", major, minor, &SPNEGO)?;
        Ok(credentials)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        let mut minor = 0;
        // SAFETY: these are live credentials that nobody else has.
        unsafe { (self.api.gss_release_cred)(&mut minor, &mut self.raw) };
    }
}

/// What a context promises, as bits (RFC 2744 §5.19).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(Word);

impl Flags {
    /// The peer proves who it is, too.
    pub(crate) const MUTUAL: Flags = Flags(2);
    /// The initiator does not say who it is.
    pub(crate) const ANONYMOUS: Flags = Flags(64);
    /// The initiator's channel binding is the acceptor's; since MIT 1.19.
    pub(crate) const CHANNEL_BOUND: Flags = Flags(2048);

    pub(crate) fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A security context, in the making or complete.
pub(crate) struct Context {
    api: &'static Api,
    raw: Opaque,
}

// SAFETY: a context has no ties to a thread. It must not be used by two at once, so that it is not `Sync`.
unsafe impl Send for Context {}

/// What one round of a context gave.
pub(crate) struct Outcome<T> {
    pub(crate) round: Round,
    /// For the peer; may be empty when the context is complete.
    pub(crate) token: Vec<u8>,
    pub(crate) flags: Flags,
    pub(crate) peer: T,
}

impl Context {
    pub(crate) fn new(api: &'static Api) -> Context {
        Context { api, raw: null_mut() }
    }

    /// One round of the side that starts.
    pub(crate) fn initiate(
        &mut self,
        credentials: &Credentials,
        target: &Name,
        mechanism: &'static Oid,
        wanted: Flags,
        binding: Option<&ChannelBinding>,
        token: &[u8],
    ) -> Result<Outcome<()>, Error> {
        let bindings = binding.map(bindings);
        let mut input = Buffer::reading(token);
        let mut output = Output::new(self.api);
        let (mut minor, mut flags) = (0, 0);
        // SAFETY: all that is pointed to lives through the call; the context is null at first and the library's own from
        // then on; null asks for neither the actual mechanism nor the lifetime.
        let major = unsafe {
            (self.api.gss_init_sec_context)(
                &mut minor,
                credentials.raw,
                &mut self.raw,
                target.raw,
                mechanism,
                wanted.0,
                0,
                bindings.as_ref().map_or(null(), |bindings| bindings),
                &mut input,
                null_mut(),
                output.raw(),
                &mut flags,
                null_mut(),
            )
        };
        let round = self.api.judge("gss_init_sec_context", major, minor, mechanism)?;
        Ok(Outcome { round, token: output.bytes().to_vec(), flags: Flags(flags), peer: () })
    }

    /// One round of the side that is called. The peer's name is known when the context is complete.
    pub(crate) fn accept(
        &mut self,
        credentials: &Credentials,
        binding: Option<&ChannelBinding>,
        token: &[u8],
    ) -> Result<Outcome<Name>, Error> {
        let bindings = binding.map(bindings);
        let mut input = Buffer::reading(token);
        let mut output = Output::new(self.api);
        let mut peer = Name { api: self.api, raw: null_mut() };
        let mut mechanism: *const Oid = null();
        let (mut minor, mut flags) = (0, 0);
        // SAFETY: as in `initiate`; the name that comes back is ours; null refuses credentials that the peer delegates.
        let major = unsafe {
            (self.api.gss_accept_sec_context)(
                &mut minor,
                &mut self.raw,
                credentials.raw,
                &mut input,
                bindings.as_ref().map_or(null(), |bindings| bindings),
                &mut peer.raw,
                &mut mechanism,
                output.raw(),
                &mut flags,
                null_mut(),
                null_mut(),
            )
        };
        // The mechanism, where it is known, is a constant of the library.
        let mechanism = if mechanism.is_null() { &KERBEROS } else { mechanism };
        let round = self.api.judge("gss_accept_sec_context", major, minor, mechanism)?;
        Ok(Outcome { round, token: output.bytes().to_vec(), flags: Flags(flags), peer })
    }

    /// Signs a message; it stays readable.
    pub(crate) fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut input = Buffer::reading(message);
        let mut output = Output::new(self.api);
        let (mut minor, mut is_secret) = (0, 0);
        // SAFETY: the context is live (null, the library refuses), and every pointer is to a local.
        let major = unsafe {
            (self.api.gss_wrap)(&mut minor, self.raw, 0, 0, &mut input, &mut is_secret, output.raw())
        };
        self.api.judge("gss_wrap", major, minor, &KERBEROS)?;
        Ok(output.bytes().to_vec())
    }

    /// The message that the peer signed.
    pub(crate) fn unwrap(&mut self, token: &[u8]) -> Result<Vec<u8>, Error> {
        let mut input = Buffer::reading(token);
        let mut output = Output::new(self.api);
        let (mut minor, mut is_secret, mut quality) = (0, 0, 0);
        // SAFETY: as in `wrap`.
        let major = unsafe {
            (self.api.gss_unwrap)(
                &mut minor,
                self.raw,
                &mut input,
                output.raw(),
                &mut is_secret,
                &mut quality,
            )
        };
        self.api.judge("gss_unwrap", major, minor, &KERBEROS)?;
        Ok(output.bytes().to_vec())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        let mut minor = 0;
        // SAFETY: it is a live context that nobody else has; null asks for no farewell token.
        unsafe { (self.api.gss_delete_sec_context)(&mut minor, &mut self.raw, null_mut()) };
    }
}

/// Addresses are not bound: translators of addresses would break them (RFC 2744 §3.11).
fn bindings(binding: &ChannelBinding) -> Bindings {
    Bindings {
        initiator_address_type: 0,
        initiator_address: Buffer::EMPTY,
        acceptor_address_type: 0,
        acceptor_address: Buffer::EMPTY,
        application_data: Buffer::reading(binding.as_bytes()),
    }
}
