// What goes to the server and comes from it: JSON, files, and the stream of events.

/** What the server refused, as the sentence that it gave, and the number of the answer. */
export class Problem extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

const AWAY = "The studio does not answer, so this was not done.";

async function answer(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem(AWAY);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const sentence = said.problem ?? `The studio answered with the error ${response.status}.`;
  throw new Problem(sentence, response.status);
}

export const get = async (path) => (await answer(path)).json();

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", "X-Dinotrack": "1" };
  return (await answer(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/** The picture at an address, ready to be drawn. */
export const picture = async (path) => createImageBitmap(await (await answer(path)).blob());

/** Fetches a file and hands it to the browser as a download; returns its name. */
export async function download(path) {
  const response = await answer(path);
  const given = response.headers.get("Content-Disposition") ?? "";
  const plain = /filename="?([^";]+)"?/.exec(given)?.[1];
  const coded = /filename\*=utf-8''([^;]+)/i.exec(given)?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = coded ? decodeURIComponent(coded) : (plain ?? "tracks");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

/** Sends a video; tells of the share that has gone; returns the id of its project. */
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/projects?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-Dinotrack", "1");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new Problem("The video could not be sent."));
    request.onload = () => {
      if (request.status < 300) resolve(request.response.id);
      else reject(new Problem(request.response?.problem ?? "The video was refused."));
    };
    request.send(file);
  });
}

const EVENTS = ["state", "document", "fit", "job", "tracks", "problem"];
const AGAIN = 1000; // ms until a lost stream is asked for again

/** Calls heard(event, data) for each event of a project and lost() whenever the stream breaks off;
 * asks for the stream again and again. Returns a function that ends it. */
export function listen(id, heard, lost) {
  let source, timer, quiet;
  const open = () => {
    source = new EventSource(`/api/projects/${id}/events`);
    for (const event of EVENTS) {
      source.addEventListener(event, ({ data }) => heard(event, JSON.parse(data)));
    }
    source.onerror = () => {
      source.close();
      lost();
      timer = setTimeout(open, AGAIN);
    };
  };
  const leave = () => {
    quiet = true;
    clearTimeout(timer);
    source.close();
  };
  open();
  addEventListener("pagehide", () => quiet || leave(), { once: true });
  return leave;
}
