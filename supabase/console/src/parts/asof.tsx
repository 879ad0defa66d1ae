/** When figures are from, and that they could not be had. */
import { clockTime } from "../format.ts";
import type { Polled } from "./polled.ts";

export function AsOf({ polled }: { polled: Pick<Polled<unknown>, "fault" | "at"> }) {
  return (
    <p className="as-of">
      {polled.fault && <span className="fault" role="alert">{polled.fault}</span>}
      <span className="quiet">
        {polled.at ? `As of ${clockTime(polled.at)}, asked again every 10 seconds` : polled.fault ? "" : "Fetching…"}
      </span>
    </p>
  );
}
