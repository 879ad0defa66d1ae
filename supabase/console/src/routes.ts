/** Where one is: the part of the address after #, so that every page can be shared and needs no server. */
import { useEffect, useState } from "react";

export type Place = { path: string; values: URLSearchParams };

export function read(): Place {
  const [path = "", values = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path, values: new URLSearchParams(values) };
}

export function usePlace(): Place {
  const [place, setPlace] = useState(read);
  useEffect(() => {
    const look = () => setPlace(read());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return place;
}
