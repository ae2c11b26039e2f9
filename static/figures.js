// Figures, as a person reads them. Pure, like transcript.js. They are written as `locale` says.

// Two decimals, and as many more as a small sum needs for two figures: $12.34, $0.50, $0.0012.
export function money(dollars, locale) {
  const decimals = dollars > 0 && dollars < 1 ? Math.min(20, Math.max(2, 1 - Math.floor(Math.log10(dollars)))) : 2;
  return `$${dollars.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: decimals })}`;
}

// "1,204 in (1,024 cached), 310 out", in these words; null where nothing was counted.
export function tokens(usage, words, locale) {
  const figure = (number) => number.toLocaleString(locale);
  const { input_tokens: input, output_tokens: output, cached_tokens: cached, reasoning_tokens: reasoning, estimated } = usage ?? {};
  const some = (count, what, part, of) => count > 0 && `${figure(count)} ${what}${part > 0 ? ` (${figure(part)} ${of})` : ""}`;
  const counted = [some(input, words.input, cached, words.cached), some(output, words.output, reasoning, words.reasoning)].filter(Boolean).join(", ");
  return counted ? about(estimated, counted, words) : null;
}

// What a reply cost: "$0.0012"; null where nobody knows.
export const cost = ({ cost: dollars, usage }, words, locale) => (typeof dollars === "number" ? about(usage?.estimated, money(dollars, locale), words) : null);

const about = (estimated, figure, words) => (estimated ? `${words.about} ${figure}` : figure);
