//! The C interface of GSSAPI (RFC 2744), and the only `unsafe` of this workspace.
//!
//! What this module is: the functions of MIT's library, loaded at run time, and owners of what they hand out ([`handle`]),
//! so that everything above is safe Rust. What it is not: it decides nothing.
//!
//! The shapes are those of MIT's `gssapi.h` on Linux; they are part of the library's ABI, which its soname stands for.

#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

pub(crate) mod handle;

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::error::{Error, NotInstalled};

/// The library's soname, as Debian, Red Hat and SUSE ship it.
pub(crate) const FILE: &str = "libgssapi_krb5.so.2";

/// `OM_uint32`.
type Word = u32;
/// `gss_name_t`, `gss_cred_id_t` and `gss_ctx_id_t`: pointers to what only the library knows.
type Opaque = *mut c_void;

/// `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

impl Buffer {
    const EMPTY: Buffer = Buffer { length: 0, value: std::ptr::null_mut() };

    /// What the library reads. It writes to no input, though its signatures do not say so.
    fn reading(bytes: &[u8]) -> Buffer {
        Buffer { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }
}

/// `gss_OID_desc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Oid {
    length: Word,
    elements: *const c_void,
}

// SAFETY: an `Oid` of ours points to constants, which nobody ever writes to.
unsafe impl Sync for Oid {}

impl Oid {
    const fn new(bytes: &'static [u8]) -> Oid {
        Oid { length: bytes.len() as Word, elements: bytes.as_ptr().cast() }
    }
}

/// Kerberos 5 (RFC 4121 §1): 1.2.840.113554.1.2.2.
pub(crate) static KERBEROS: Oid = Oid::new(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02");
/// SPNEGO (RFC 4178): 1.3.6.1.5.5.2.
pub(crate) static SPNEGO: Oid = Oid::new(b"\x2b\x06\x01\x05\x05\x02");
/// The name type `service@host` (RFC 2743 §4.1): 1.2.840.113554.1.2.1.4.
pub(crate) static HOST_BASED_SERVICE: Oid = Oid::new(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04");
/// The name type `principal@REALM` (RFC 1964 §2.1.1): 1.2.840.113554.1.2.2.1.
pub(crate) static PRINCIPAL: Oid = Oid::new(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01");

/// `gss_OID_set_desc`.
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *mut Oid,
}

/// `gss_channel_bindings_struct`.
#[repr(C)]
struct Bindings {
    initiator_address_type: Word,
    initiator_address: Buffer,
    acceptor_address_type: Word,
    acceptor_address: Buffer,
    application_data: Buffer,
}

/// `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValueSet {
    count: Word,
    elements: *mut KeyValue,
}

/// Makes [`Api`]: one field for each function, each looked up under its own name.
macro_rules! functions {
    ($($name:ident($($argument:ty),* $(,)?);)*) => {
        /// The functions. The first argument of each is where it writes the mechanism's own status.
        pub(crate) struct Api {
            $($name: unsafe extern "C" fn(*mut Word, $($argument),*) -> Word,)*
        }

        impl Api {
            fn resolve(library: &libloading::Library) -> Result<Api, libloading::Error> {
                Ok(Api {
                    $(
                        // SAFETY: the signature is the one of this function in MIT's gssapi.h and gssapi_ext.h.
                        $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes())? },
                    )*
                })
            }
        }
    };
}

functions! {
    gss_import_name(*mut Buffer, *const Oid, *mut Opaque);
    gss_display_name(Opaque, *mut Buffer, *mut *const Oid);
    gss_release_name(*mut Opaque);
    gss_get_name_attribute(
        Opaque, *mut Buffer, *mut c_int, *mut c_int, *mut Buffer, *mut Buffer, *mut c_int,
    );
    gss_acquire_cred_from(
        Opaque, Word, *const OidSet, c_int, *const KeyValueSet, *mut Opaque, *mut *mut OidSet, *mut Word,
    );
    gss_set_neg_mechs(Opaque, *const OidSet);
    gss_release_cred(*mut Opaque);
    gss_init_sec_context(
        Opaque, *mut Opaque, Opaque, *const Oid, Word, Word, *const Bindings, *mut Buffer, *mut *const Oid,
        *mut Buffer, *mut Word, *mut Word,
    );
    gss_accept_sec_context(
        *mut Opaque, Opaque, *mut Buffer, *const Bindings, *mut Opaque, *mut *const Oid, *mut Buffer, *mut Word,
        *mut Word, *mut Opaque,
    );
    gss_delete_sec_context(*mut Opaque, *mut Buffer);
    gss_wrap(Opaque, c_int, Word, *mut Buffer, *mut c_int, *mut Buffer);
    gss_unwrap(Opaque, *mut Buffer, *mut Buffer, *mut c_int, *mut Word);
    gss_display_status(Word, c_int, *const Oid, *mut Word, *mut Buffer);
    gss_release_buffer(*mut Buffer);
}

impl Api {
    /// The functions, loaded once for the process and never unloaded. A failure is not remembered: who installs the
    /// library needs no restart.
    pub(crate) fn load() -> Result<&'static Api, NotInstalled> {
        static API: OnceLock<Api> = OnceLock::new();
        match API.get() {
            Some(api) => Ok(api),
            None => Api::open(FILE).map(|api| API.get_or_init(|| api)),
        }
    }

    pub(crate) fn open(file: &str) -> Result<Api, NotInstalled> {
        // The loader's own words, which name the file, are the source of its error.
        let not_installed = |error: libloading::Error| match std::error::Error::source(&error) {
            Some(source) => NotInstalled(format!("{error}: {source}")),
            None => NotInstalled(error.to_string()),
        };
        // SAFETY: the initialisers of MIT's library only set up its tables and locks, on any thread.
        let library = unsafe { libloading::Library::new(file) }.map_err(not_installed)?;
        let api = Api::resolve(&library).map_err(not_installed)?;
        // The functions are good for as long as the library stays, which is for ever.
        std::mem::forget(library);
        Ok(api)
    }

    /// Whether a call went well, and whether it wants another round.
    fn judge(
        &'static self,
        call: &'static str,
        major: Word,
        minor: Word,
        mechanism: *const Oid,
    ) -> Result<Round, Error> {
        /// The bits of calling and routine errors (RFC 2744 §3.9.1).
        const ERRORS: Word = 0xffff_0000;
        const CONTINUE_NEEDED: Word = 1;
        if major & ERRORS == 0 {
            return Ok(if major & CONTINUE_NEEDED != 0 { Round::Continue } else { Round::Complete });
        }
        const GSS_CODE: c_int = 1;
        const MECHANISM_CODE: c_int = 2;
        /// "Unspecified GSS failure": the mechanism knows more.
        const FAILURE: Word = 13 << 16;
        let mut texts = Vec::new();
        if major & ERRORS != FAILURE || minor == 0 {
            texts = self.texts(major & ERRORS, GSS_CODE, std::ptr::null());
        }
        if minor != 0 {
            texts.extend(self.texts(minor, MECHANISM_CODE, mechanism));
        }
        Err(Error::new(call, major & ERRORS, minor, texts))
    }

    /// What the library says of a status. Texts that it cannot make are left out; the numbers remain.
    fn texts(&'static self, status: Word, kind: c_int, mechanism: *const Oid) -> Vec<String> {
        /// More than any status has.
        const TEXTS_MAX: usize = 8;
        let mut texts = Vec::new();
        let mut more = 0;
        for _ in 0..TEXTS_MAX {
            let mut minor = 0;
            let mut text = handle::Output::new(self);
            // SAFETY: every pointer is to a local that outlives the call; `mechanism` is null or points to a constant.
            let major = unsafe {
                (self.gss_display_status)(&mut minor, status, kind, mechanism, &mut more, text.raw())
            };
            if major != 0 {
                break;
            }
            texts.push(String::from_utf8_lossy(text.bytes()).into_owned());
            if more == 0 {
                break;
            }
        }
        texts
    }
}

/// Whether a context is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// It is.
    Complete,
    /// The peer has to answer first.
    Continue,
}
