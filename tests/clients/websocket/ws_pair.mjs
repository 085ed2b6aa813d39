#!/usr/bin/env node
// JsSIP and SIP.js through a SIP server over WebSocket (RFC 7118). `npm ci` here first; Node 20.
//
//   node ws_pair.mjs --url wss://localhost:5081/ --ca ca.pem --domain example.test --a alice:pw --b bob:pw
//                    [--address 127.64.1.11] [--skip call,presence,jssip,sipjs]
//
// --address is where the URL's host is, where no DNS knows it.

import { parseArgs } from 'node:util';
import { check, finish } from './checks.mjs';
import { useWebSocket } from './socket.mjs';

// Above the sum of what the checks may wait.
const TIME_LIMIT_MILLISECONDS = 120_000;

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    ca: { type: 'string' },
    address: { type: 'string' },
    domain: { type: 'string', default: 'example.test' },
    a: { type: 'string', default: 'alice:alice-secret' },
    b: { type: 'string', default: 'bob:bob-secret' },
    skip: { type: 'string', default: '' },
  },
});
if (!values.url) {
  console.error('usage: ws_pair.mjs --url ws://HOST:PORT/ ...');
  process.exit(2);
}
const account = (text) => {
  const [user, ...rest] = text.split(':');
  return [user, rest.join(':')];
};
const options = { ...values, a: account(values.a), b: account(values.b), skip: new Set(values.skip.split(',')) };

useWebSocket(values.ca, values.address);

setTimeout(() => {
  check('the driver ends in time', false);
  finish();
}, TIME_LIMIT_MILLISECONDS).unref();
try {
  if (!options.skip.has('jssip')) await (await import('./jssip.mjs')).jssip(options);
  if (!options.skip.has('sipjs')) await (await import('./sipjs.mjs')).sipjs(options);
} catch (error) {
  check('the driver ran to its end', false, error?.stack ?? error);
}
finish();
