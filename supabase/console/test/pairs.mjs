/** Requests that the cloud and, unseen, the private model answered: what a queue of reviews is drawn from. */
import { randomUUID } from "node:crypto";

const LEVELS = ["low", "medium", "high"];
const risk = (level, word) => ({
  risk_level: level,
  reasons: [`Half of your time for this task is used, ${word}.`, "With 40% done you are slightly behind."],
  recommended_actions: ["Finish one small open step today.", "Ask a teammate for help before the day ends."],
});
const plan = (word) => ({
  suggested_plan: [
    { phase: "requirement_refiner", title: `List the wishes for the ${word}`, duration: 2, risk: "low" },
    { phase: "build_guidance", title: `Build the ${word}`, duration: 4, risk: "medium" },
    { phase: "acceptance_criteria", title: `Test the ${word}`, duration: 2, risk: "low" },
  ],
  overall_risks: ["The wishes may change meanwhile."],
  assumptions: ["The design is there already."],
});

export function requests(org, user, n) {
  return Array.from({ length: n }, (_, i) => {
    const isRisk = i % 3 !== 2;
    const [level, other] = [LEVELS[i % 3], LEVELS[(i + (i % 4 === 0 ? 1 : 0)) % 3]];
    return {
      id: randomUUID(),
      org_id: org,
      user_id: user,
      feature: isRisk ? "risk" : "plan",
      prompt_input: isRisk
        ? {
          title: `Career page, part ${i}`,
          level,
          milestone: ["50_percent", "none", "75_percent"][i % 3],
          micro_task: false,
          pace: "behind",
          done_percent: 40,
          gone_percent: 50,
          steps_done: 2,
          steps_left: 3,
          budget_minutes: 480,
          spent_minutes: 240,
          delay_minutes: 120,
          left: "4 h",
          late: "2 h",
          suggested: level,
        }
        : {
          title: `Career page, part ${i}`,
          description: "It must have a filter by department and work on mobile.",
          skills: ["React"],
          similar: [],
        },
      output: isRisk ? risk(level, "so keep going") : plan("career page"),
      provider: "cloud",
      model: "gpt-4o-mini",
      prompt_version: isRisk ? "risk-1/instructions" : "plan-1/instructions",
      confidence: 80,
      latency_ms: 900,
      shadow: {
        cause: null,
        ms: 700,
        confidence: 40 + i * 2,
        model: "smollm2-135m-starter-3",
        output: isRisk ? risk(other, "so go on") : plan("new page"),
        ...(isRisk ? { agrees: level === other } : {}),
      },
      created_at: new Date(Date.now() - i * 3_600_000).toISOString(),
    };
  });
}
