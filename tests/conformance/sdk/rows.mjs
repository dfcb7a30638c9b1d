// The rows of OpenAI's Node SDK: `node rows.mjs PREFIX TASK.json` prints a JSON line per row.
// PREFIX is the folder that holds node_modules/openai.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [prefix, taskFile] = process.argv.slice(2);
const require = createRequire(path.resolve(prefix, "package.json"));
const sdk = require("openai");
const OpenAI = sdk.default ?? sdk.OpenAI;
const { toFile } = sdk;
const task = JSON.parse(fs.readFileSync(taskFile, "utf8"));

const MODELS = "GET /v1/models";
const TRANSCRIPTIONS = "POST /v1/audio/transcriptions";
const TRANSLATIONS = "POST /v1/audio/translations";
const SPEECH = "POST /v1/audio/speech";
const FORMATS = ["json", "text", "srt", "verbose_json", "vtt"];

class LeftOut extends Error {}
const rows = [];

function row(section, title, calls, run) {
  rows.push({ section, title, calls, run });
}

/** A client that counts its requests. */
function at(name, options = {}) {
  const own = name === "asr" || name === "tts";
  const url = own ? task[name] : task.special[name];
  if (!url) {
    throw new LeftOut(own ? `no --${name} URL given` : "needs services with special settings, which a given URL does not have");
  }
  const sent = { count: 0 };
  sent.client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: own ? task.key : task.special_key,
    timeout: 60_000,
    ...options,
    fetch: (...args) => {
      // The SDK also fetches "data:," to look at the class of the answer.
      sent.count += String(args[0]).startsWith("http") ? 1 : 0;
      return fetch(...args);
    },
  });
  return sent;
}

const open = (name) => fs.createReadStream(task.files[name]);
// What is a stream cannot be sent again, and then the SDK would never retry.
const whole = (name) => new File([fs.readFileSync(task.files[name])], path.basename(name));
const transcribe = (client, name = "speech.wav", fields = {}) =>
  client.audio.transcriptions.create({ file: whole(name), model: "whisper-1", ...fields });
const speak = (client, fields = {}) =>
  client.audio.speech.create({ input: "Hello there, world.", model: "tts-1", voice: "alloy", ...fields });

/** Node's types are erased, so their shapes are checked by hand. */
function shaped(value, shape, where = "") {
  for (const [key, kind] of Object.entries(shape)) {
    const found = value[key];
    if (Array.isArray(kind)) {
      assert.ok(Array.isArray(found), `${where}${key}: ${JSON.stringify(found)}`);
      found.forEach((each) => (typeof kind[0] === "string" ? assert.equal(typeof each, kind[0]) : shaped(each, kind[0], `${key}.`)));
    } else if (kind === "integer") {
      assert.ok(Number.isInteger(found), `${where}${key}: ${JSON.stringify(found)}`);
    } else {
      assert.equal(typeof found, kind, `${where}${key}: ${JSON.stringify(found)}`);
    }
  }
}

const SEGMENT = {
  id: "integer", seek: "integer", start: "number", end: "number", text: "string", tokens: ["number"],
  temperature: "number", avg_logprob: "number", compression_ratio: "number", no_speech_prob: "number",
};

function check(found, wanted) {
  if (wanted === "json" || wanted === "verbose_json") {
    assert.equal(typeof found, "object");
    assert.ok(found.text);
    if (wanted === "verbose_json") shaped(found, { duration: "number", language: "string", segments: [SEGMENT] });
  } else {
    assert.equal(typeof found, "string");
    assert.ok({ text: !found.includes('"'), srt: found.includes(" --> "), vtt: found.startsWith("WEBVTT\n\n") }[wanted], found);
  }
}

async function refused(sent, kind, code, param, ask, requests = 1) {
  const before = sent.count;
  try {
    await ask(sent.client);
  } catch (error) {
    assert.equal(error.constructor.name, kind, String(error));
    // For a format that does not exist the contract has two codes and prefers none.
    const codes = param === "response_format" ? [code, "unsupported_format"] : [code];
    assert.ok(codes.includes(error.code), `${error.code}: ${error}`);
    if (param !== undefined) assert.equal(error.param, param, String(error));
    assert.ok(error.error.message && error.message.includes(error.error.message), error.message);
    assert.ok(error.requestID, "no x-request-id");
    assert.equal(sent.count - before, requests, "requests sent");
    return error;
  }
  throw new Error(`no ${kind}`);
}

// --- models

row("A1", "models.list", [MODELS], async () => {
  for (const name of ["asr", "tts"]) {
    const found = [];
    for await (const model of at(name).client.models.list()) found.push(model);
    assert.ok(found.length);
    found.forEach((model) => shaped(model, { id: "string", object: "string", created: "integer", owned_by: "string" }));
  }
});

row("A1", "models.retrieve of an id and of an alias", [MODELS], async () => {
  const { client } = at("asr");
  const first = (await client.models.list()).data[0];
  assert.equal((await client.models.retrieve(first.id)).id, first.id);
  assert.equal((await client.models.retrieve("whisper-1")).object, "model");
});

row("A0", "models.retrieve of an id with / and :", [MODELS], async () => {
  await refused(at("asr"), "NotFoundError", "model_not_found", "model", (client) => client.models.retrieve("org/model:tag"));
});

// --- transcriptions and translations

for (const wanted of FORMATS) {
  row("A2.3", `transcriptions.create as ${wanted}`, [TRANSCRIPTIONS], async () => {
    check(await transcribe(at("asr").client, "speech.wav", { response_format: wanted }), wanted);
  });
  row("A3", `translations.create as ${wanted}`, [TRANSLATIONS], async () => {
    const { client } = at("asr");
    check(await client.audio.translations.create({ file: open("speech.wav"), model: "whisper-1", response_format: wanted }), wanted);
  });
  row("A2.5", `stream: true with ${wanted}`, [TRANSCRIPTIONS], async () => {
    checkEvents(await events(at("asr").client, { response_format: wanted }));
  });
}

row("A2.3", "words of verbose_json", [TRANSCRIPTIONS], async () => {
  const fields = { response_format: "verbose_json", timestamp_granularities: ["word", "segment"] };
  const found = await transcribe(at("asr").client, "speech.wav", fields);
  shaped(found, { words: [{ word: "string", start: "number", end: "number" }] });
  assert.ok(found.words.length);
  assert.equal(found.usage.type, "duration");
});

row("A2.2", "include: ['logprobs']", [TRANSCRIPTIONS], async () => {
  const found = await transcribe(at("asr").client, "speech.wav", { include: ["logprobs"] });
  shaped(found, { logprobs: [{ token: "string", logprob: "number", bytes: ["number"] }] });
  assert.ok(found.logprobs.length);
});

row("A2.2", "every other parameter of create", [TRANSCRIPTIONS], async () => {
  const { client } = at("asr");
  const vad = { type: "server_vad", threshold: 0.4, prefix_padding_ms: 200, silence_duration_ms: 250 };
  const fields = { prompt: "Names: Ada.", temperature: 0.2, language: "en", chunking_strategy: vad };
  assert.ok((await transcribe(client, "speech.wav", fields)).text);
  assert.ok((await transcribe(client, "speech.wav", { chunking_strategy: "auto", languages: ["en", "de"], keywords: ["ComfyUI"] })).text);
});

row("A2.1", "files as stream, File, Blob of bytes", [TRANSCRIPTIONS], async () => {
  const content = fs.readFileSync(task.files["speech.wav"]);
  for (const file of [open("speech.wav"), new File([content], "a.mp3"), await toFile(content, "blob"), await toFile(content)]) {
    assert.ok((await at("asr").client.audio.transcriptions.create({ file, model: "whisper-1" })).text);
  }
});

row("A0", "the file after the other fields", [TRANSCRIPTIONS], async () => {
  const { client } = at("asr");
  const found = await client.audio.transcriptions.create({ response_format: "verbose_json", model: "whisper-1", file: open("speech.wav") });
  assert.ok(found.segments.length);
});

row("A2.3", "no speech is an empty text", [TRANSCRIPTIONS], async () => {
  assert.equal((await transcribe(at("asr").client, "silence.wav")).text, "");
});

const DIARIZED = { response_format: "diarized_json", model: "gpt-4o-transcribe-diarize", chunking_strategy: "auto" };
const DIARIZED_SEGMENT = { type: "string", id: "string", start: "number", end: "number", text: "string", speaker: "string" };

/** Who speaks in the file that is sent. */
function knownSpeaker() {
  if (!task.diarizes) throw new LeftOut("no diarization model is installed");
  const clip = fs.readFileSync(task.files["speech.wav"]).toString("base64");
  return { known_speaker_names: ["Ada"], known_speaker_references: [`data:audio/wav;base64,${clip}`] };
}

function checkDiarized(segments) {
  assert.ok(segments.length);
  shaped({ segments }, { segments: [DIARIZED_SEGMENT] });
  segments.forEach((each, index) => assert.equal(each.id, `seg_${String(index + 1).padStart(3, "0")}`));
  assert.ok(segments.some((each) => each.speaker === "Ada"), JSON.stringify(segments));
}

row("A2.3", "transcriptions.create as diarized_json, with a known speaker", [TRANSCRIPTIONS], async () => {
  const known = knownSpeaker();
  const found = await transcribe(at("asr").client, "speech.wav", { ...DIARIZED, ...known });
  shaped(found, { task: "string", duration: "number", text: "string" });
  checkDiarized(found.segments);
  assert.ok(found.text.includes("Ada: "));
});

row("A2.3", "diarized_json says why not, where no model tells who speaks", [TRANSCRIPTIONS], async () => {
  await refused(at("asr-strict"), "BadRequestError", "unsupported_format", undefined, (client) => transcribe(client, "sample.wav", DIARIZED));
});

// --- streams

async function events(client, fields = {}, name = "speech.wav") {
  const found = [];
  for await (const event of await transcribe(client, name, { stream: true, ...fields })) found.push(event);
  return found;
}

function checkEvents(found) {
  const done = found.at(-1);
  assert.equal(done.type, "transcript.text.done");
  assert.ok(found.slice(0, -1).every((event) => event.type === "transcript.text.delta"));
  assert.equal(found.slice(0, -1).map((event) => event.delta).join(""), done.text);
  assert.ok(done.text);
  shaped(done.usage, { type: "string", input_tokens: "integer", output_tokens: "integer", total_tokens: "integer" });
  assert.equal(done.usage.type, "tokens");
}

row("A2.5", "logprobs in a stream", [TRANSCRIPTIONS], async () => {
  const found = await events(at("asr").client, { include: ["logprobs"] });
  checkEvents(found);
  assert.ok(found.every((event) => event.logprobs.length));
});

row("A2.5", "stream: true with diarized_json: each delta, then its segment", [TRANSCRIPTIONS], async () => {
  const known = knownSpeaker();
  const found = await events(at("asr").client, { ...DIARIZED, ...known });
  const done = found.pop();
  const deltas = found.filter((event, index) => index % 2 === 0);
  const segments = found.filter((event, index) => index % 2 === 1);
  assert.ok(deltas.every((event) => event.type === "transcript.text.delta"));
  assert.ok(segments.every((event) => event.type === "transcript.text.segment"));
  checkDiarized(segments);
  assert.deepEqual(deltas.map((event) => event.segment_id), segments.map((event) => event.id));
  assert.equal(deltas.map((event) => event.delta).join(""), done.text);
});

row("A2.5", "a failure in the middle of a stream throws APIError", [TRANSCRIPTIONS], async () => {
  const { client } = at("asr-busy");
  await assert.rejects(events(client, {}, "long.wav"), (error) => {
    assert.ok(error instanceof OpenAI.APIError, String(error));
    assert.equal(error.code, "deadline_exceeded");
    return true;
  });
});

row("A2.5", "stream: true: what is wrong at once is a status error", [TRANSCRIPTIONS], async () => {
  await refused(at("asr"), "BadRequestError", "invalid_value", "language", (client) => events(client, { language: "xx" }));
});

// --- speech

const STARTS = { mp3: [0xff], opus: [...Buffer.from("OggS")], aac: [0xff], flac: [...Buffer.from("fLaC")], wav: [...Buffer.from("RIFF")], pcm: [] };

for (const [wanted, start] of Object.entries(STARTS)) {
  row("A7.1", `speech.create as ${wanted}`, [SPEECH], async () => {
    const found = await speak(at("tts").client, { response_format: wanted });
    const content = Buffer.from(await found.arrayBuffer());
    assert.deepEqual([...content.subarray(0, start.length)], start);
    assert.ok(content.length > 500);
    assert.ok(found.headers.get("content-type").startsWith("audio/"));
  });
}

row("A7.1", "speech.create: the body as a stream", [SPEECH], async () => {
  const found = await speak(at("tts").client, { input: "The first sentence of two. And the second.", response_format: "wav" });
  let size = 0;
  for await (const part of found.body) size += part.length;
  assert.ok(size > 500);
});

row("A7", "speed, instructions, a voice as object", [SPEECH], async () => {
  const { client } = at("tts");
  const { voices } = await client.get("/audio/voices");
  const length = async (fields) => (await (await speak(client, { response_format: "pcm", ...fields })).arrayBuffer()).byteLength;
  assert.ok((await length({ speed: 2 })) < 0.7 * (await length({})));
  assert.ok(await length({ instructions: "Speak like a pirate.", voice: { id: voices[0].id } }));
});

row("A7.2", "stream_format: 'sse' gives the bytes of the events", [SPEECH], async () => {
  const text = await (await speak(at("tts").client, { stream_format: "sse" })).text();
  const types = text.split("\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)).type);
  assert.equal(types.at(-1), "speech.audio.done");
  assert.deepEqual([...new Set(types.slice(0, -1))], ["speech.audio.delta"]);
});

// --- errors

const FAILING = [
  ["an unknown format", "asr", "speech.wav", "BadRequestError", "invalid_value", "response_format", { response_format: "exe" }],
  ["a temperature of 7", "asr", "speech.wav", "BadRequestError", "invalid_value", "temperature", { temperature: 7 }],
  ["an unknown language", "asr", "speech.wav", "BadRequestError", "invalid_value", "language", { language: "klingon" }],
  ["an empty file", "asr", "empty.wav", "BadRequestError", "invalid_audio", "file", {}],
  ["a text for a file", "asr", "text.wav", "BadRequestError", "unsupported_format", "file", {}],
  ["an unknown model", "asr", "speech.wav", "NotFoundError", "model_not_found", "model", { model: "nope" }],
  ["too large a file", "asr-strict", "large.wav", "APIError", "file_too_large", undefined, {}],
  ["a deadline that passed", "asr-busy", "long.wav", "InternalServerError", "deadline_exceeded", undefined, {}],
];

for (const [title, service, name, kind, code, param, fields] of FAILING) {
  row("A0.1", `${title}: class, code, param, one request`, [TRANSCRIPTIONS], async () => {
    await refused(at(service), kind, code, param, (client) => transcribe(client, name, fields));
  });
}

row("A0.1", "a wrong key: AuthenticationError, one request", [TRANSCRIPTIONS, SPEECH], async () => {
  await refused(at("asr-strict", { apiKey: "wrong" }), "AuthenticationError", "invalid_api_key", null, (client) => transcribe(client));
  await refused(at("tts-strict", { apiKey: "wrong" }), "AuthenticationError", "invalid_api_key", null, (client) => speak(client));
});

row("A0.1", "403: PermissionDeniedError, one request", ["POST /v1/audio/voices"], async () => {
  await refused(at("tts-open"), "PermissionDeniedError", "forbidden", undefined, (client) =>
    client.post("/audio/voices", { body: { name: "x" } }),
  );
});

row("A0.1", "an unknown path: NotFoundError; a wrong method: APIError", [MODELS], async () => {
  await refused(at("asr"), "NotFoundError", "not_found", null, (client) => client.get("/nothing"));
  await refused(at("asr"), "APIError", "method_not_allowed", null, (client) => client.get("/audio/transcriptions"));
});

row("A0.1", "an unknown voice, a text that is too long: BadRequestError, one request", [SPEECH], async () => {
  await refused(at("tts"), "BadRequestError", "voice_not_found", "voice", (client) => speak(client, { voice: "nobody" }));
  await refused(at("tts"), "BadRequestError", "string_above_max_length", "input", (client) => speak(client, { input: "word ".repeat(40_000) }));
});

row("A0.1", "an internal error: InternalServerError, sent three times", [TRANSCRIPTIONS], async () => {
  if (!task.fake) throw new LeftOut("needs the fake engine");
  const ask = (client) => transcribe(client, "short.wav", { prompt: "fake:error" });
  await refused(at("asr"), "InternalServerError", "internal_error", undefined, ask, 3);
});

row("A0.1", "a crash of the engine is sent again, then refused for good", [TRANSCRIPTIONS], async () => {
  const ask = (client) => transcribe(client, "crash.wav", { prompt: "fake:crash" });
  await refused(at("asr-fragile"), "BadRequestError", "unprocessable_audio", undefined, ask, 2);
});

row("A0.1", "a model that loads: InternalServerError", [TRANSCRIPTIONS], async () => {
  const sent = at("asr-loading", { maxRetries: 0 });
  await refused(sent, "InternalServerError", "model_loading", undefined, (client) => transcribe(client, "short.wav"));
});

row("A0.1", "a full queue: RateLimitError", [TRANSCRIPTIONS], async () => {
  const { client } = at("asr-busy", { maxRetries: 0 });
  // Equal requests would share one run; their prompts make them differ.
  const asked = Array.from({ length: task.too_many }, (_, each) => transcribe(client, "busy.wav", { prompt: `number ${each}` }));
  const found = await Promise.allSettled(asked);
  const full = found.filter((each) => each.status === "rejected").map((each) => each.reason);
  assert.ok(full.length);
  full.forEach((error) => {
    assert.equal(error.constructor.name, "RateLimitError", String(error));
    assert.equal(error.code, "queue_full");
    assert.ok(error.headers.get("retry-after"));
  });
});

row("A0", "x-request-id is _request_id and withResponse's request_id", [TRANSCRIPTIONS], async () => {
  const asked = transcribe(at("asr").client);
  const { data, request_id: id } = await asked.withResponse();
  assert.ok(id);
  assert.equal(data._request_id, id);
});

for (const { section, title, calls, run } of rows) {
  let outcome = "passed";
  let detail = "";
  try {
    await run();
  } catch (error) {
    outcome = error instanceof LeftOut ? "left out" : "failed";
    const where = String(error.stack).split("\n").find((line) => line.includes("rows.mjs")) ?? "";
    detail = error instanceof LeftOut ? error.message : `${error.name}: ${error.message} ${where.trim()}`.replace(/\s+/g, " ").slice(0, 700);
  }
  console.log(JSON.stringify({ section, title, calls, outcome, detail }));
}
