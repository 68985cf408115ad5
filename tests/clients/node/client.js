// Asks a Lockstep scorer everything that the service offers and prints one JSON object.
// Usage: node client.js HOST:PORT PATH/OF/scorer.proto < requests.json
// requests.json: {"predict": [...], "features": {...}, "refused": [...]}, requests in proto3's JSON names.
'use strict';

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, proto] = process.argv.slice(2);
// 64-bit integers as strings: a JavaScript number holds 53 bits. Doubles are numbers on both sides, bit for bit.
const definition = loader.loadSync(proto, { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true });
const { Scorer } = grpc.loadPackageDefinition(definition).lockstep.v1;

const serviceConfig = {
  methodConfig: [{
    name: [{ service: 'lockstep.v1.Scorer', method: 'Predict' }],
    retryPolicy: {
      maxAttempts: 3,
      initialBackoff: '0.02s',
      maxBackoff: '0.5s',
      backoffMultiplier: 2,
      retryableStatusCodes: ['UNAVAILABLE'],
    },
  }],
};
const client = new Scorer(address, grpc.credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify(serviceConfig),
});

// One call as a promise, with a deadline: a call without one can hang for ever.
function ask(method, request, seconds = 5) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + seconds * 1000);
    client[method](request, { deadline }, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

async function refusal(method, request, seconds) {
  try {
    await ask(method, request, seconds);
    return null;
  } catch (error) {
    return { code: grpc.status[error.code], message: error.details };
  }
}

function stream(requests) {
  return new Promise((resolve, reject) => {
    const outcomes = [];
    const call = client.predictStream();
    call.on('data', (outcome) => outcomes.push(outcome));
    call.on('error', reject);
    call.on('end', () => resolve(outcomes));
    requests.forEach((request) => call.write(request));
    call.end();
  });
}

async function main() {
  const requests = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const predicted = [];
  for (const request of requests.predict) predicted.push(await ask('predict', request));
  const refused = [];
  for (const [method, request] of requests.refused) refused.push(await refusal(method, request));
  const answer = {
    predicted,
    refused,
    streamed: await stream(requests.stream),
    features: await ask('getFeatures', requests.features),
    models: await ask('listModels', {}),
    model: await ask('getModel', { model: requests.features.model }),
    late: await refusal('predict', requests.predict[0], -1),
  };
  console.log(JSON.stringify(answer));
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
