//! Session descriptions (RFC 4566, RFC 8866), as far as a server looks into them: connection addresses, media lines, direction, ICE attributes.
