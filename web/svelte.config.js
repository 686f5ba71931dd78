// What scrolls has to be reached by keys, so a region may have a tabindex.
const scrolls = 'a11y_no_noninteractive_tabindex';

export default {
    compilerOptions: { runes: true, warningFilter: ({ code }) => code !== scrolls },
};
