/**
 * Writes what TypeScript makes of the wire examples into the golden files. `wire` is written by hand; all else follows.
 * TypeScript owns wire to prompt input; Python must agree on derived fields, message bytes and what is acceptable.
 */
import { describePlan, readPlanWish } from "../../supabase/functions/_shared/describe_plan.ts";
import { describeTask } from "../../supabase/functions/_shared/describe_task.ts";
import { messages } from "../../supabase/functions/_shared/messages.ts";
import { rulesRisk } from "../../supabase/functions/_shared/rules_risk.ts";

const here = new URL(".", import.meta.url);
// deno-lint-ignore no-explicit-any
const read = (name: string): any[] => JSON.parse(Deno.readTextFileSync(new URL(name, here)));
const write = (name: string, value: unknown) =>
  Deno.writeTextFileSync(new URL(name, here), JSON.stringify(value, null, 2) + "\n");

write(
  "risk.json",
  read("risk.json").map(({ name, wire }, i) => {
    const { promptInput, shortened } = describeTask(wire);
    return {
      name,
      wire,
      promptInput,
      shortened,
      messages: messages("risk", promptInput, "tag"),
      instructed: i === 0 ? messages("risk", promptInput, "instructions") : undefined,
      rules: rulesRisk(promptInput),
    };
  }),
);
write(
  "plan.json",
  read("plan.json").map(({ name, wire, similar }, i) => {
    const { promptInput, shortened } = describePlan(readPlanWish(wire), similar);
    return {
      name,
      wire,
      similar,
      promptInput,
      shortened,
      messages: messages("plan", promptInput, "tag"),
      instructed: i === 0 ? messages("plan", promptInput, "instructions") : undefined,
    };
  }),
);
