"""Invoices of another shop system into stock, orders and books, by the same commands as everybody else's.

In order of their use:

    file        the file as it stands: invoices and their lines
    plan        what is to be done about each line, or why nothing can be
    opening     what has to be there before the first order
    carrying    commands that are carried out once
    books       doing what the plan says, together with the sagas
    watch       what the sagas have done
    report      which lines are in the books, and why the others are not
"""
