// The browser's class, which the libraries find when they are imported: `useWebSocket` comes first.

import fs from 'node:fs';
import WebSocket from 'ws';

// `ca` is the PEM file of the CA of the server's certificate, `address` where the URL's host is, where no DNS knows it.
export function useWebSocket(ca, address) {
  const connecting = ca ? { ca: fs.readFileSync(ca) } : {};
  if (address) {
    connecting.lookup = (host, { all }, found) => {
      if (all) found(null, [{ address, family: 4 }]);
      else found(null, address, 4);
    };
  }
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, connecting);
    }
  };
}
