"""Wrong answers made by machine: each stored solution of the exercises with one mistake put into it.

A solution is read from the notebook's source, without the lines that try it. `mutants_of` changes its syntax tree at
one place, as a student may go wrong there: the neighbouring comparison, another rounding, a forgotten `max`, a constant
off by one, the last element left out, the `return` forgotten. `overwriting` spoils what it is given.
"""

import ast
import re
from copy import copy, deepcopy
from pathlib import Path

import numpy as np

import organseg

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PATIENCE = 10_000  # rounds of loops: a mutant that never ends is stopped here

OPERATORS = {
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Add, ast.Div], ast.Div: [ast.Mult, ast.FloorDiv],
    ast.Pow: [ast.Mult], ast.And: [ast.Or], ast.Or: [ast.And], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
}  # fmt: skip
ROUNDINGS = ["({} / {})", "int({} / {})", "round({} / {})", "-(-{} // {})"]  # for //
FUNCTIONS = {
    "mean": ["median", "sum", "max"], "nanmean": ["mean", "nanmedian", "nansum"], "nanmin": ["min", "nanmax"],
    "min": ["max", "mean"], "max": ["min", "mean"], "maximum": ["minimum"], "any": ["all"], "all": ["any"],
    "floor": ["ceil", "trunc", "rint"], "ceil": ["floor", "trunc", "rint"], "rint": ["floor", "ceil", "trunc"],
    "cbrt": ["sqrt"], "sqrt": ["cbrt"], "log2": ["log"], "percentile": ["quantile"], "permutation": ["sort"],
}  # fmt: skip
TAKE_NUMBERS = {"range", "int", "min", "max", "len", "full", "zeros", "arange", "default_rng"}


def stored_solutions():
    """The number of each exercise, and the syntax tree of its solution: a function, or the value of an answer."""
    for file in sorted(NOTEBOOKS.glob("[0-9]*.py")):
        for cell in re.split(r"(?m)^# %%", file.read_text(encoding="utf-8")):
            head, _, code = cell.partition("\n")
            if '"solution"' in head:
                kept = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.Assign)]
                yield re.search(r'check\("([\d.]+)"', code)[1], ast.Module(kept[:1], [])


def answer_of(tree):
    """The answer that a solution or a mutant defines. A loop of more than `PATIENCE` rounds ends in an error."""
    tree = deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While):
            node.body.insert(0, ast.parse("next(rounds)").body[0])
    names = {"np": np, "organseg": organseg, "whole": whole, "rounds": None}
    exec(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"), names)
    if isinstance(tree.body[0], ast.Assign):
        return names[tree.body[0].targets[0].id]

    def answer(*arguments):
        names["rounds"] = iter(range(PATIENCE))
        return names[tree.body[0].name](*arguments)

    return answer


def whole(value):
    """The numbers of an answer as an array of integers would keep them."""
    return tuple(map(whole, value)) if isinstance(value, tuple) else np.asarray(value, dtype=float).astype(int)


def mutants_of(tree):
    """Each mutant of a solution: what was changed, and the answer with the change."""
    root = tree.body[0]
    parameters = [one.arg for one in root.args.args] if isinstance(root, ast.FunctionDef) else []
    strings = [node.value for node in ast.walk(root) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in ast.walk(root):
        changes = [*mistakes_of_value(node, parameters, strings), *mistakes_of_calls(node), *mistakes_of_flow(node)]
        for change in {said(change): change for change in changes if said(change) != said(node)}.values():
            mutant = deepcopy(tree, {id(node): change})  # a copy in which the change stands for the old node
            try:
                answer = answer_of(mutant)
            except (TypeError, ValueError):  # an expression without a value is no answer
                continue
            yield f"{said(node)} → {said(change)}", answer


def said(node):
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split()) or "nothing"


def changed(node, **fields):
    other = copy(node)
    for field, value in fields.items():
        setattr(other, field, value)
    return other


def expression(pattern, *nodes):
    return ast.parse(pattern.format(*(f"({said(node)})" for node in nodes)), mode="eval").body


def mistakes_of_value(node, parameters, strings):
    """Other operators, numbers, names and parts of a list than the right ones."""
    match node:
        case ast.Compare(ops=[operator]):
            yield from (changed(node, ops=[other()]) for other in OPERATORS.get(type(operator), []))
        case ast.BinOp(left, operator, right):
            yield from (changed(node, op=other()) for other in OPERATORS.get(type(operator), []))
            if isinstance(operator, ast.FloorDiv):
                yield from (expression(rounding, left, right) for rounding in ROUNDINGS)
        case ast.BoolOp(operator) | ast.AugAssign(op=operator):
            yield from (changed(node, op=other()) for other in OPERATORS.get(type(operator), []))
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(int()):
            yield from (expression(str(node.value + by)) for by in (1, -1))
        case ast.Constant(float()):
            yield from (expression(str(number)) for number in (node.value * 1.1, node.value + 1, -node.value))
        case ast.Constant(str()):
            yield ast.Constant(strings[strings.index(node.value) - 1])
        case ast.Name(name, ast.Load()) if name in parameters:
            yield from (ast.Name(other, ast.Load()) for other in parameters if other != name)
        case ast.Slice():
            yield from (changed(node, **{end: None}) for end in ("lower", "upper", "step") if getattr(node, end))
        case ast.Tuple(elements, ast.Load()) | ast.List(elements, ast.Load()) if len(elements) > 1:
            yield from (changed(node, elts=other) for other in (elements[:-1], elements[1:], elements[::-1]))
        case ast.Dict(keys, values):
            yield changed(node, keys=keys[:-1], values=values[:-1])


def mistakes_of_calls(node):
    """Another function than the right one, none at all, or a part of its argument left out."""
    match node:
        case ast.Call(ast.Attribute(owner, name), arguments):
            of_numpy = said(owner).partition(".")[0] in ("np", "organseg")
            for other in FUNCTIONS.get(name, []):
                method = changed(node, func=changed(node.func, attr=other))
                of_array = changed(node, func=expression(f"np.{other}"), args=[owner, *arguments])
                yield method if of_numpy or name == "permutation" else of_array
            parts = arguments[:1] if of_numpy else [owner]
            if parts and name not in TAKE_NUMBERS:
                for cut in (expression("{}[:-1]", parts[0]), expression("{}[1:]", parts[0])):
                    whole_call = changed(node, args=[cut, *arguments[1:]])
                    yield whole_call if of_numpy else changed(node, func=changed(node.func, value=cut))
            yield from arguments[:2] if of_numpy else [owner]
        case ast.Call(ast.Name(), arguments):
            yield from arguments[:2]


def mistakes_of_flow(node):
    """A condition the other way round, an element or a step left out, no `return`, an integer returned."""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield changed(node, test=expression("not {}", test))
        case ast.For(iter=them) | ast.comprehension(iter=them):
            cuts = ("list({})[:-1]", "list({})[1:]")
            yield from (changed(node, iter=expression(cut, them)) for cut in cuts)
            for condition in getattr(node, "ifs", []):
                yield from (changed(node, ifs=ifs) for ifs in ([expression("not {}", condition)], []))
        case ast.AugAssign() | ast.Assign(targets=[ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value):
            yield ast.Expr(value)
            yield changed(node, value=expression("whole({})", value))


def overwriting(answer, place):
    """An answer that returns what is right, and overwrites one of the arrays or lists that it is given."""

    def overwrites(*arguments):
        result = deepcopy(answer(*arguments))
        arguments[place][:] = deepcopy(arguments[place][::-1])
        return result

    return overwrites
