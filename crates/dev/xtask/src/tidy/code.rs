//! Rules for Rust files: length, what is left open, sleeping tests.

use super::File;

/// The longest file, in lines: what is longer does more than one thing.
const FILE_LINES_MAX: usize = 500;
/// The longest function, in lines; one in a hundred may be longer.
const FUNCTION_LINES_MAX: usize = 80;

/// What must not stand in any file. Put together here so that this file does not find itself.
const LEFT_OPEN: [(&str, &str); 5] = [
    (concat!("todo", "!("), "a stub"),
    (concat!("unimplemented", "!("), "a stub"),
    (concat!("dbg", "!("), "a debugging aid"),
    (concat!("#[", "ignore"), "a test that does not run"),
    (concat!("FIX", "ME"), "a defect left open"),
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust());
    let mut findings: Vec<String> =
        rust.flat_map(|file| [length(file), left_open(file), sleeps(file)].concat()).collect();
    let functions: Vec<_> = functions(files).collect();
    let long: Vec<_> = functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX).collect();
    if long.len() * 100 > functions.len() {
        findings.extend(long.iter().map(|f| {
            format!("{}: {} lines: more than 1 in 100 functions is longer than {FUNCTION_LINES_MAX}", f.name, f.lines)
        }));
    }
    findings
}

fn length(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let too_long = lines > FILE_LINES_MAX;
    too_long.then(|| format!("{}: {lines} lines, more than {FILE_LINES_MAX}", file.path)).into_iter().collect()
}

fn left_open(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let (word, what) = LEFT_OPEN.iter().find(|(word, _)| line.contains(word))?;
            Some(file.at(number, &format!("{word} is {what}")))
        })
        .collect()
}

/// Tests wait for conditions with a limit, by `acp_dev_wait::wait_for`. Those in a file follow its `#[cfg(test)]`.
fn sleeps(file: &File) -> Vec<String> {
    let mut in_tests = file.path.starts_with("tests/") || file.path.contains("/tests/");
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        in_tests |= line.starts_with("#[cfg(test)]");
        if in_tests && line.contains(concat!("sleep", "(")) {
            found.push(file.at(number, "a test that sleeps; wait for a condition with `acp_dev_wait::wait_for`"));
        }
    }
    found
}

struct Function {
    name: String,
    lines: usize,
}

/// The functions of formatted code: from the line with `fn` to the brace in the same column.
fn functions(files: &[File]) -> impl Iterator<Item = Function> {
    files.iter().filter(|file| file.is_rust()).flat_map(|file| {
        let lines: Vec<&str> = file.text.lines().collect();
        let starts = (0..lines.len()).filter(|at| is_function(lines[*at])).collect::<Vec<_>>();
        starts.into_iter().filter_map(move |start| {
            let indent = lines[start].len() - lines[start].trim_start().len();
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == close)? + 1;
            Some(Function { name: file.at(start, lines[start].trim()), lines: length })
        })
    })
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start();
    let rest = words
        .strip_prefix("pub(crate) ")
        .or(words.strip_prefix("pub(super) "))
        .or(words.strip_prefix("pub "))
        .unwrap_or(words);
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    rest.starts_with("fn ") && !line.ends_with(';') && !line.ends_with('}')
}

/// Sizes of functions and files, for the report.
pub(super) fn statistics(files: &[File]) -> String {
    let mut functions: Vec<usize> = functions(files).map(|function| function.lines).collect();
    let mut lines: Vec<usize> =
        files.iter().filter(|file| file.is_rust()).map(|file| file.text.lines().count()).collect();
    functions.sort_unstable();
    lines.sort_unstable();
    let middle = |sorted: &[usize]| sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let long = functions.iter().filter(|length| **length > FUNCTION_LINES_MAX).count();
    format!(
        "{} Rust files, median {} lines, longest {}; {} functions, median {} lines, {long} above {FUNCTION_LINES_MAX}",
        lines.len(),
        middle(&lines),
        lines.last().copied().unwrap_or_default(),
        functions.len(),
        middle(&functions),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_sleep_is_found_in_tests_only() {
        let sleep = concat!("sleep", "(1)");
        let text = format!("fn f() {{\n{sleep}\n}}\n#[cfg(test)]\nfn t() {{\n{sleep}\n}}\n");
        assert_eq!(sleeps(&file("crates/a/src/lib.rs", &text)).len(), 1);
        assert_eq!(sleeps(&file("crates/a/tests/it.rs", &text)).len(), 2);
    }

    #[test]
    fn functions_are_measured_to_their_brace() {
        let text =
            "impl A {\n    pub(crate) async fn f() {\n        g();\n    }\n}\nfn h() {\n}\ntrait T { fn x(); }\n";
        let files = [file("a.rs", text)];
        let found: Vec<_> = functions(&files).map(|function| function.lines).collect();
        assert_eq!(found, [3, 2]);
    }
}
