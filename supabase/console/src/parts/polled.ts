/** Asks again and again, so that a page is never stale; what it had stays while there is no connection. */
import { useCallback, useEffect, useRef, useState } from "react";
import { said } from "../project.ts";

const EVERY_MS = 10_000;

export type Polled<T> = {
  data: T | null;
  fault: string | null;
  at: string | null;
  again: () => void;
  put: (data: T) => void;
};

export function usePolled<T>(ask: () => Promise<T>): Polled<T> {
  const [data, setData] = useState<T | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [at, setAt] = useState<string | null>(null);
  const turn = useRef(0);
  const put = useCallback((found: T) => {
    turn.current++;
    setData(found);
    setFault(null);
    setAt(new Date().toISOString());
  }, []);
  const again = useCallback(() => {
    const mine = ++turn.current;
    ask().then(
      (found) => mine === turn.current && put(found),
      (error) => mine === turn.current && setFault(said(error)),
    );
  }, [ask, put]);
  useEffect(() => {
    again();
    const timer = setInterval(() => document.hidden || again(), EVERY_MS);
    const look = () => document.hidden || again();
    document.addEventListener("visibilitychange", look);
    return () => {
      turn.current++;
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [again]);
  return { data, fault, at, again, put };
}
