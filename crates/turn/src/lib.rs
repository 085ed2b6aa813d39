//! STUN messages for keep-alive on SIP flows.
