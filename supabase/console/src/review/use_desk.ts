/** Owns the desk's life in the page: kept at every change, sent in order, filled again before it is empty. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useEffect, useRef, useState } from "react";
import { call, CallError, said } from "../project.ts";
import type { Next, Pair, Review } from "../shapes.ts";
import {
  clear,
  type Desk,
  judgedAlready,
  load,
  type Operation,
  received,
  remembered,
  save,
  sent,
  tried,
} from "./desk.ts";

const AT_ONCE = 5;
const FEW = 3;
const RETRY_MS = 3_000;
const LOOK_AGAIN_MS = 20_000;

const lockOf = (user: string) => `console-desk-${user}`;

export type DeskState = {
  desk: Desk;
  change: (step: (desk: Desk) => Desk) => void;
  connection: "connecting" | "on" | "off";
  fault: string | null;
  /** Who has the desk: this window, another one of this browser, or nobody knows yet. */
  owner: "us" | "elsewhere" | "unknown";
  /** Whether the database was asked and had no more pairs. */
  isDry: boolean;
};

export function useDesk(client: SupabaseClient, user: string): DeskState {
  const [desk, setDesk] = useState(() => load(user));
  const [connection, setConnection] = useState<DeskState["connection"]>("connecting");
  const [fault, setFault] = useState<string | null>(null);
  const [owner, setOwner] = useState<DeskState["owner"]>("unknown");
  const [isDry, setDry] = useState(false);
  const latest = useRef(desk);
  // Only whoever has the desk sends and saves: what another window knows of it is old.
  const owns = useRef(false);
  const isBusy = useRef(false);
  const again = useRef(false);
  const knowsLast = useRef(false);

  const change = useCallback((step: (desk: Desk) => Desk) => {
    if (!owns.current) return;
    latest.current = step(latest.current);
    save(user, latest.current);
    setDesk(latest.current);
    if (latest.current.held.length > 0) setDry(false);
  }, [user]);

  const sync = useCallback(async () => {
    if (!owns.current) return;
    if (isBusy.current) {
      again.current = true;
      return;
    }
    isBusy.current = true;
    try {
      do {
        again.current = false;
        await send(client, () => owns.current ? latest.current.waiting[0] : undefined, change);
        if (!owns.current) return;
        if (latest.current.held.length < FEW) {
          const last = latest.current.past.at(-1)?.review.id;
          const next = await call<Next>(client, "slm_next_review", { p_count: AT_ONCE });
          const { past, waiting } = latest.current;
          change((desk) => received(desk, next, waiting.length === 0 && past.at(-1)?.review.id === last));
          setDry(latest.current.held.length === 0);
        }
        if (!knowsLast.current) {
          const last = await call<{ pair: Pair; review: Review } | null>(client, "slm_last_review");
          knowsLast.current = true;
          change((desk) => remembered(desk, last));
        }
      } while (again.current);
      setConnection("on");
      setFault(null);
    } catch (error) {
      const isPassing = error instanceof CallError && error.isPassing;
      setConnection(isPassing ? "off" : "on");
      setFault(isPassing ? null : said(error));
    } finally {
      isBusy.current = false;
    }
  }, [client, change]);

  useEffect(() => {
    const stop = new AbortController();
    let patience = 0;
    const work = async () => {
      clearTimeout(patience);
      // A desk that was closed while it waited its turn must not keep the next one out.
      if (stop.signal.aborted) return;
      owns.current = true;
      setOwner("us");
      latest.current = load(user);
      setDesk(latest.current);
      void sync();
      await new Promise((done) => stop.signal.addEventListener("abort", done));
    };
    // One window at a time: two would write over each other's desk.
    if (navigator.locks) {
      patience = setTimeout(() => setOwner("elsewhere"), 500);
      navigator.locks.request(lockOf(user), { signal: stop.signal }, work).catch(() => {});
    } else void work();
    return () => {
      clearTimeout(patience);
      owns.current = false;
      stop.abort();
    };
  }, [user, sync]);

  useEffect(() => {
    const wake = () => void sync();
    const isWaiting = desk.waiting.length > 0 || connection !== "on" || (desk.held.length === 0 && !isDry);
    const timer = setInterval(wake, isWaiting ? RETRY_MS : LOOK_AGAIN_MS);
    addEventListener("online", wake);
    return () => {
      clearInterval(timer);
      removeEventListener("online", wake);
    };
  }, [sync, desk.waiting.length, desk.held.length, isDry, connection]);

  // Asking for more is for when a pair has left the desk, not for each answer that brought none.
  useEffect(() => {
    if (latest.current.waiting.length > 0 || latest.current.held.length < FEW) void sync();
  }, [desk.waiting.length, desk.held.length, sync]);

  return { desk, change, connection, fault, owner, isDry };
}

/** Nothing of the desk stays behind in this browser. For whoever has signed out: no window keeps its own for long. */
export async function forget(user: string): Promise<void> {
  clear(user);
  // The window that had it may have saved it until it let go.
  await navigator.locks?.request(lockOf(user), () => clear(user));
}

/** Sends what waits, one by one; what the database refuses is set aside, anything else stays and is thrown. */
async function send(
  client: SupabaseClient,
  next: () => Operation | undefined,
  change: DeskState["change"],
): Promise<void> {
  for (let first = next(); first; first = next()) {
    change(tried);
    try {
      if (first.kind === "submit") {
        const { review } = first;
        const { kept } = await call<{ kept: boolean }>(client, "slm_submit_review", { p_review: review });
        change((desk) => kept ? sent(desk, null) : judgedAlready(desk, review));
      } else {
        await call(client, "slm_undo_review", { p_id: first.id });
        change((desk) => sent(desk, null));
      }
    } catch (error) {
      if (error instanceof CallError && error.isPassing) throw error;
      change((desk) => sent(desk, said(error)));
    }
  }
}
