#!/usr/bin/env node
// One person with SIP.js over WebSocket, for a driver that stands on the other side of its pipes: it registers, watches
// others, publishes what it is told to, and says what it sees.
//
//   node person.mjs --url wss://localhost:5081/ --ca ca.pem --domain example.test --user carol:pw --watch alice,bob
//
// In, a line each: `online`, `busy`, `quit`. Out, a line of JSON each: {"is": "registered"} and {"user", "state"}.

import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { pause, until } from './checks.mjs';
import { useWebSocket } from './socket.mjs';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    ca: { type: 'string' },
    domain: { type: 'string', default: 'example.test' },
    user: { type: 'string' },
    watch: { type: 'string', default: '' },
  },
});
useWebSocket(values.ca);
const SIP = await import('sip.js');
const say = (what) => console.log(JSON.stringify(what));
const uriOf = (user) => SIP.UserAgent.makeURI(`sip:${user}@${values.domain}`);

const [user, ...rest] = values.user.split(':');
const agent = new SIP.UserAgent({
  uri: uriOf(user),
  transportOptions: { server: values.url, traceSip: false },
  authorizationUsername: user,
  authorizationPassword: rest.join(':'),
  logBuiltinEnabled: false,
});
await agent.start();
const registerer = new SIP.Registerer(agent, { expires: 120 });
await registerer.register();
await until(() => registerer.state === SIP.RegistererState.Registered);
say({ is: registerer.state === SIP.RegistererState.Registered ? 'registered' : 'refused' });

const subscribers = [];
for (const name of values.watch.split(',').filter(Boolean)) {
  const onNotify = (notification) => {
    const body = notification.request.body || '';
    notification.accept();
    if (body) say({ user: name, state: stateIn(body) });
  };
  const extraHeaders = ['Accept: application/pidf+xml'];
  const options = { expires: 120, extraHeaders, delegate: { onNotify } };
  const subscriber = new SIP.Subscriber(agent, uriOf(name), 'presence', options);
  await subscriber.subscribe();
  subscribers.push(subscriber);
}

function stateIn(pidf) {
  if (!pidf.includes('<basic>open</basic>')) return 'offline';
  return /<rpid:(busy|on-the-phone|meeting)/.test(pidf) ? 'busy' : 'online';
}

const options = { contentType: 'application/pidf+xml', expires: 120 };
const publisher = new SIP.Publisher(agent, uriOf(user), 'presence', options);
const publish = (activity) =>
  publisher.publish(
    '<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf"' +
      ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"' +
      ` entity="${uriOf(user)}"><tuple id="t1"><status><basic>open</basic></status></tuple>` +
      `<dm:person id="p1"><rpid:activities>${activity}</rpid:activities></dm:person></presence>`,
  );

for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line === 'online') await publish('<rpid:unknown/>');
  if (line === 'busy') await publish('<rpid:busy/>');
  if (line === 'quit') break;
}
for (const subscriber of subscribers) await subscriber.unsubscribe().catch(() => {});
await publisher.unpublish().catch(() => {});
await registerer.unregister().catch(() => {});
// Its goodbye needs a moment to leave.
await pause(500);
process.exit(0);
