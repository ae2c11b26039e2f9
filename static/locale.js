// How numbers, dates and the clock are written: as the browser's person is used to, where that is the language of the page.
import { language } from "./strings.js";

export const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? language;

export const figure = (number) => number.toLocaleString(locale);
